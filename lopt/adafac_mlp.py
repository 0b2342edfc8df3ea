"""A tiny multilayer perceptron on Adam- and Adafactor-like features (``adafac_mlp``).

The accumulators of lopt/accumulators.py, with learned decays, give the step of one parameter p:

    (d, a) = MLP(28 features, each divided by its RMS over the tensor | 11 functions of t)
    p <- p - d * exp(exp_mult * a) * step_mult

The first theta makes small steps down along m_1 / sqrt(v) (``per_parameter.point_down``).

References:
    [1] Metz et al. 2022, "Practical tradeoffs between memory, compute, and performance in learned
        optimizers", https://arxiv.org/abs/2203.11860
"""

import dataclasses
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Int

from lopt import accumulators, per_parameter, transform
from lopt.accumulators import Accumulators
from lopt.base import LearnedOptimizer, StepInputs, Theta
from lopt.kernels import Fields

DESCENT_FEATURE = 6
"""m_1 / sqrt(v), which the first theta follows."""
NUM_INPUTS = accumulators.NUM_FEATURES + len(per_parameter.TIMESCALES)


class AdafacMLPState(NamedTuple):
    """State of ``adafac_mlp``: four float32 numbers per parameter and the factored moments.

    Every field but the count holds a tree like the parameters.
    """

    count: Int[Array, ""]  # pyright: ignore[reportIncompatibleMethodOverride]
    momenta: Any
    """Leaves ``[3, *shape]``."""
    second_moment: Any
    """Leaves ``[1, *shape]``."""
    row: Any
    """Leaves ``[3, ...]``: squared gradients averaged over the longest axis, kept with length 1;
    for a leaf with fewer than two axes its full second moments ``[3, *shape]``."""
    col: Any
    """Leaves ``[3, ...]``: averaged over the second-longest axis; ``[3]`` zeros where unused."""


@dataclasses.dataclass(frozen=True)
class AdafacMLPLopt(LearnedOptimizer):
    """The 39-feature rule of Metz et al. 2022; 197 meta-parameters by default.

    Attributes:
        hidden: widths of the hidden layers, at least 2; up to 8 is much faster than more.
        step_mult: scale of the step.
        exp_mult: scale of the magnitude output within the exponential.
    """

    hidden: tuple[int, ...] = (4, 4)
    step_mult: float = 0.001
    exp_mult: float = 0.001

    def __post_init__(self) -> None:
        object.__setattr__(self, "hidden", transform.check_widths("hidden", self.hidden, 2))

    def init(self, key: jax.Array) -> Theta:
        """Draw theta: the network, and offsets of the decays, which start at zero."""
        net = per_parameter.init_net(key, (NUM_INPUTS, *self.hidden, 2))
        return {
            "mlp": per_parameter.point_down(net, DESCENT_FEATURE),
            "momentum_decays": jnp.zeros((len(accumulators.MOMENTUM_DECAYS),), jnp.float32),
            "rms_decays": jnp.zeros((len(accumulators.RMS_DECAYS),), jnp.float32),
            "adafactor_decays": jnp.zeros((len(accumulators.ADAFACTOR_DECAYS),), jnp.float32),
        }

    def init_state(self, theta: Theta, params: Any) -> AdafacMLPState:
        return AdafacMLPState(transform.zero_count(), *accumulators.init(params))

    def step(
        self, theta: Theta, state: AdafacMLPState, inputs: StepInputs
    ) -> tuple[Any, AdafacMLPState]:
        constants = per_parameter.time_features(state.count)
        net = per_parameter.fold_constants(theta["mlp"], constants)
        combine = per_parameter.direction_and_magnitude(self.step_mult, self.exp_mult)
        advance = per_parameter.advance_by(_advance, combine)
        rates = _rates(theta)

        def step_leaf(
            param: jax.Array, grad: jax.Array, *old: jax.Array
        ) -> tuple[jax.Array, Accumulators]:
            acc = accumulators.update_factors(grad, Accumulators(*old), rates)
            scale = accumulators.row_scale(acc.row, grad.shape)
            of_leaf = accumulators.as_fields(rates, grad.ndim)
            others = (grad[None], param[None], acc.row, acc.col, scale, of_leaf)
            step, moved = advance(net, acc[:2], others)
            momenta, second_moment = moved
            return step, Accumulators(momenta, second_moment, acc.row, acc.col)

        new = jax.tree.map(step_leaf, inputs.params, inputs.grads, *state[1:])
        steps, new = (jax.tree.map(lambda _, x, i=i: x[i], inputs.grads, new) for i in range(2))
        moved = accumulators.by_field(new, inputs.grads)
        return steps, AdafacMLPState(transform.increment(state.count), *moved)


def _advance(state: Fields, inputs: Fields) -> tuple[list[Fields], Fields]:
    """Features of every parameter, and its next momenta and second moment."""
    grad, param, row, col, scale, rates = inputs
    momenta, second_moment = accumulators.move(grad, state, rates)
    acc = Accumulators(momenta, second_moment, row, col)
    return accumulators.features(grad, param, acc, scale), (momenta, second_moment)


def _rates(theta: Theta) -> Accumulators:
    """1 - decay of every accumulator; its logarithm moves by ten times the learned offset."""
    momentum, second, factored, _ = accumulators.RATES
    momentum = jnp.exp(10.0 * theta["momentum_decays"]) * momentum
    # Momenta may overshoot; averages of squares must not turn negative.
    second = jnp.minimum(jnp.exp(10.0 * theta["rms_decays"]) * second, 1.0)
    factored = jnp.minimum(jnp.exp(10.0 * theta["adafactor_decays"]) * factored, 1.0)
    return Accumulators(momentum, second, factored, factored)
