"""A tiny multilayer perceptron on Adam- and Adafactor-like features (``adafac_mlp``).

Accumulators, with learned decays: momenta m_1..3, a second moment v, and three factored second
moments, each a row mean r_k and a column mean c_k of the squared gradient. The step of one
parameter p is

    (d, a) = MLP(28 features, each divided by its RMS over the tensor | 11 functions of t)
    p <- p - d * exp(exp_mult * a) * step_mult

with the features listed in ``_features``. Leaves with two or more axes are factored over their
two longest ones; leaves with fewer have full second moments in place of r_k and c_k.

References:
    [1] Metz et al. 2022, "Practical tradeoffs between memory, compute, and performance in learned
        optimizers", https://arxiv.org/abs/2203.11860
    [2] Shazeer & Stern 2018, "Adafactor", https://arxiv.org/abs/1804.04235
"""

import dataclasses
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Float, Int

from lopt import per_parameter, sharding, transform
from lopt.base import LearnedOptimizer, Theta

MOMENTUM_DECAYS = (0.9, 0.99, 0.999)
RMS_DECAYS = (0.999,)
ADAFACTOR_DECAYS = (0.9, 0.99, 0.999)
NUM_INPUTS = 28 + len(per_parameter.TIMESCALES)


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


class _Accumulators(NamedTuple):
    """The accumulators of one leaf, or the rates at which they move."""

    momenta: jax.Array
    second_moment: jax.Array
    row: jax.Array
    col: jax.Array


@dataclasses.dataclass(frozen=True)
class AdafacMLPLopt(LearnedOptimizer):
    """The 39-feature rule of Metz et al. 2022; 197 meta-parameters by default.

    Attributes:
        hidden: widths of the hidden layers; up to 8 is much faster than more.
        step_mult: scale of the step.
        exp_mult: scale of the magnitude output within the exponential.
    """

    hidden: tuple[int, ...] = (4, 4)
    step_mult: float = 0.001
    exp_mult: float = 0.001

    def __post_init__(self) -> None:
        object.__setattr__(self, "hidden", transform.check_widths("hidden", self.hidden))

    def init(self, key: jax.Array) -> Theta:
        """Draw theta: the network, and offsets of the decays, which start at zero."""
        return {
            "mlp": per_parameter.init_net(key, (NUM_INPUTS, *self.hidden, 2)),
            "momentum_decays": jnp.zeros((len(MOMENTUM_DECAYS),), jnp.float32),
            "rms_decays": jnp.zeros((len(RMS_DECAYS),), jnp.float32),
            "adafactor_decays": jnp.zeros((len(ADAFACTOR_DECAYS),), jnp.float32),
        }

    def bind(
        self, theta: Theta, num_steps: int | None = None
    ) -> optax.GradientTransformationExtraArgs:
        """Return the optimizer; it does not look at ``num_steps``."""
        del num_steps
        combine = per_parameter.direction_and_magnitude(self.step_mult, self.exp_mult)

        def init(params: Any) -> AdafacMLPState:
            return AdafacMLPState(
                count=transform.zero_count(),
                momenta=transform.zeros_like(params, len(MOMENTUM_DECAYS)),
                second_moment=transform.zeros_like(params, len(RMS_DECAYS)),
                row=jax.tree.map(lambda p: _initial_factor(p, longest=True), params),
                col=jax.tree.map(lambda p: _initial_factor(p, longest=False), params),
            )

        def step(grads: Any, state: AdafacMLPState, params: Any) -> tuple[Any, AdafacMLPState]:
            rates = _rates(theta)
            new = jax.tree.map(
                lambda g, *old: _accumulate(g, _Accumulators(*old), rates), grads, *state[1:]
            )
            constants = per_parameter.time_features(state.count)
            net = per_parameter.fold_constants(theta["mlp"], constants)

            def step_leaf(param: jax.Array, grad: jax.Array, acc: _Accumulators) -> jax.Array:
                features = _features(grad, param.astype(jnp.float32), acc)
                return per_parameter.apply_net(net, features, param.shape, combine)

            steps = jax.tree.map(step_leaf, params, grads, new)
            fields = (jax.tree.map(lambda _, acc, i=i: acc[i], grads, new) for i in range(4))
            return steps, AdafacMLPState(transform.increment(state.count), *fields)

        return transform.make_transformation("adafac_mlp", init, step, needs_params=True)


def _rates(theta: Theta) -> _Accumulators:
    """1 - decay of every accumulator; its logarithm moves by ten times the learned offset."""

    def rate(initial_decays: tuple[float, ...], offsets: jax.Array) -> Float[Array, " k"]:
        return jnp.exp(10.0 * offsets) * (1.0 - np.array(initial_decays)).astype(np.float32)

    # Momenta may overshoot; averages of squares must not turn negative.
    second = jnp.minimum(rate(RMS_DECAYS, theta["rms_decays"]), 1.0)
    factored = jnp.minimum(rate(ADAFACTOR_DECAYS, theta["adafactor_decays"]), 1.0)
    momentum = rate(MOMENTUM_DECAYS, theta["momentum_decays"])
    return _Accumulators(momentum, second, factored, factored)


def _factored_axes(shape: tuple[int, ...]) -> tuple[int, int] | None:
    """The longest and the second-longest axis (of equals, the later counts as longer)."""
    if len(shape) < 2:
        return None
    order = np.argsort(shape, kind="stable")
    return int(order[-1]), int(order[-2])


def _initial_factor(param: Any, *, longest: bool) -> jax.Array:
    axes = _factored_axes(param.shape)
    if axes is None and not longest:
        return jnp.zeros((len(ADAFACTOR_DECAYS),), jnp.float32)
    averaged = None if axes is None else axes[0] if longest else axes[1]
    kept = (1 if axis == averaged else n for axis, n in enumerate(param.shape))
    return sharding.zeros((len(ADAFACTOR_DECAYS), *kept), param)


def _accumulate(grad: jax.Array, old: _Accumulators, rates: _Accumulators) -> _Accumulators:
    if grad.size == 0:
        return old  # means over no elements would be NaN
    squares = jnp.square(grad)
    axes = _factored_axes(grad.shape)
    if axes is None:
        row = transform.moving_averages(old.row, squares + 1e-30, rates.row)
        col = old.col
    else:
        by_row, by_col = (jnp.mean(squares, axis=axis, keepdims=True) for axis in axes)
        row = transform.moving_averages(old.row, by_row + 1e-30, rates.row)
        col = transform.moving_averages(old.col, by_col + 1e-30, rates.col)
    momenta = transform.moving_averages(old.momenta, grad, rates.momenta)
    second = transform.moving_averages(old.second_moment, squares, rates.second_moment)
    return _Accumulators(momenta, second, row, col)


def _features(grad: jax.Array, param: jax.Array, acc: _Accumulators) -> list[jax.Array]:
    """The 28 features in the published order, as arrays [k, ...] of one to three of them."""
    rsqrt = jax.lax.rsqrt(acc.second_moment + 1e-6)
    axes = _factored_axes(grad.shape)
    if axes is None:
        row, col = acc.row, acc.row
        by_gradient, by_momentum = _safe_rsqrt(row + 1e-9), jax.lax.rsqrt(row + 1e-6)
    else:
        row, col = acc.row, acc.col
        mean = jnp.mean(row, axis=1 + axes[1], keepdims=True)
        by_gradient = by_momentum = _safe_rsqrt(row / (mean + 1e-9)) * _safe_rsqrt(col)
    return [
        grad[None],
        param[None],
        acc.momenta,
        acc.second_moment,
        acc.momenta * rsqrt,
        rsqrt,
        grad[None] * by_gradient,
        row,
        col,
        jax.lax.rsqrt(row + 1e-8),
        jax.lax.rsqrt(col + 1e-8),
        acc.momenta * by_momentum,
    ]


def _safe_rsqrt(x: jax.Array) -> jax.Array:
    return jax.lax.rsqrt(jnp.maximum(x, 1e-9))
