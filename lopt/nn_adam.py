"""Adam whose hyperparameters an LSTM moves, for every tensor by itself (``nn_adam``).

Per tensor, with gradient g, parameters p and hyperparameters lr, b1, b2, eps:

    m = b1 m + (1 - b1) g,   v = b2 v + (1 - b2) g^2
    p <- p - lr (1 + eps) m^ / (eps + sqrt(v^ + 1e-10))
    h, state = LSTM(14 features of p, g, m^, v^ and the hyperparameters, state)
    log(lr), log(1 - b1), log(1 - b2), log(eps) <- themselves + output_scale (W h + b)

where m^ and v^ are m and v divided by the sum of their weights, as Adam's correction divides. The
factor 1 + eps lets the rule go over from Adam to gradient descent with momentum by eps alone. W
and b start at zero, so that the initial rule is Adam with the hyperparameters of the fields.

The published rule corrects neither m nor v, starts the LSTM in a learned state, and describes a
tensor by other statistics (``per_tensor.statistics`` says why).

References:
    [1] Metz et al. 2022, "Practical tradeoffs between memory, compute, and performance in learned
        optimizers", https://arxiv.org/abs/2203.11860
"""

import dataclasses
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from lopt import per_parameter, per_tensor, transform
from lopt.base import LearnedOptimizer, StepInputs, Theta

NUM_FEATURES = 14
MIN_ROOT = 1e-10
"""Added under the root, whose derivative at zero would be infinite."""
MAX_OFFSET = 30.0
"""Logarithms of the hyperparameters move by no more than this, so that they can come back."""
LOWEST = np.array([1e-8, 5e-5, 5e-5, 1e-11], np.float32)
"""Limits of lr, 1 - b1, 1 - b2 and eps."""
HIGHEST = np.array([1e3, 1.0, 1.0, 1e4], np.float32)
THETA_SCALE = 10.0
"""Theta holds the logarithms of the hyperparameters divided by this, so that perturbations of the
size that suits the weights suit them as well."""


class NNAdamState(NamedTuple):
    """State of ``nn_adam``: two float32 numbers per parameter, and some per tensor.

    Every field but the count holds a tree like the parameters.
    """

    count: Int[Array, ""]  # pyright: ignore[reportIncompatibleMethodOverride]
    momentum: Any
    """Leaves ``[*shape]``."""
    second_moment: Any
    """Leaves ``[*shape]``."""
    weights: Any
    """Per tensor ``[2]``: sums of the weights in ``momentum`` and in ``second_moment``."""
    offsets: Any
    """Per tensor ``[4]``: how far the logarithms of lr, 1 - b1, 1 - b2, eps have moved."""
    lstm: Any
    """Per tensor ``[2, width]``: output and cell of the LSTM."""


@dataclasses.dataclass(frozen=True)
class NNAdamLopt(LearnedOptimizer):
    """Adam with hyperparameters that a per-tensor LSTM moves.

    Attributes:
        width: width of the LSTM.
        learning_rate: initial learning rate of the initial theta.
        b1: likewise, decay of the gradient's average, in (0, 1).
        b2: likewise, decay of the squared gradient's average, in (0, 1).
        eps: likewise, added to the root of the second moment.
        output_scale: by how much an output of 1 moves a logarithm in one step; published: 0.1,
            with which perturbed particles drift apart over a thousand steps.
    """

    width: int = 32
    learning_rate: float = 1e-3
    b1: float = 0.9
    b2: float = 0.999
    eps: float = 1e-8
    output_scale: float = 0.03

    def __post_init__(self) -> None:
        transform.check_positive("width", self.width)
        names = ("learning_rate", "b1", "b2", "eps")
        for name, low, value, high in zip(names, LOWEST, self._initial(), HIGHEST, strict=True):
            if not low <= value <= high:
                bounds = f"[{low:g}, {high:g}]"
                if name in ("b1", "b2"):
                    bounds = f"[{1 - high:g}, {1 - low:g}]"
                raise ValueError(f"{name} = {getattr(self, name)} must be in {bounds}.")

    def init(self, key: jax.Array) -> Theta:
        """Draw theta: the LSTM; its outputs' weights and the hyperparameters' offsets are zero."""
        return {
            "lstm": per_parameter.init_net(key, (NUM_FEATURES + self.width, 4 * self.width)),
            "output": {
                "w0": jnp.zeros((self.width, 4), jnp.float32),
                "b0": jnp.zeros((4,), jnp.float32),
            },
            "hyperparameters": jnp.zeros((4,), jnp.float32),
        }

    def init_state(self, theta: Theta, params: Any) -> NNAdamState:
        return NNAdamState(
            count=transform.zero_count(),
            momentum=transform.zeros_like(params),
            second_moment=transform.zeros_like(params),
            weights=per_tensor.zeros(params, 2),
            offsets=per_tensor.zeros(params, 4),
            lstm=per_tensor.zeros(params, 2, self.width),
        )

    def step(self, theta: Theta, state: NNAdamState, inputs: StepInputs) -> tuple[Any, NNAdamState]:
        grads, params = per_tensor.clip(inputs.grads), inputs.params
        offsets = per_tensor.stack(state.offsets, 4)
        logs = offsets + THETA_SCALE * theta["hyperparameters"][None]
        values = jnp.clip(self._initial()[None] * jnp.exp(logs), LOWEST[None], HIGHEST[None])
        weights = per_tensor.stack(state.weights, 2)
        weights = weights + values[:, 1:3] * (1.0 - weights)
        rows = per_tensor.unstack(jnp.concatenate([values, weights], axis=1), params)
        out = jax.tree.map(_update_leaf, params, grads, state.momentum, state.second_moment, rows)
        steps, momentum, second_moment, features = (
            jax.tree.map(lambda _, leaf, i=i: leaf[i], grads, out) for i in range(4)
        )

        features = per_tensor.stack(features, NUM_FEATURES - 4)
        features = jnp.concatenate([features, per_tensor.LOG_SCALE * logs], axis=1)
        lstm = per_tensor.stack(state.lstm, 2, self.width)
        lstm = per_tensor.apply_lstm(theta["lstm"], features, lstm)
        moves = self.output_scale * per_tensor.apply_layer(theta["output"], lstm[:, 0])
        offsets = jnp.clip(offsets + moves, -MAX_OFFSET, MAX_OFFSET)
        return steps, NNAdamState(
            transform.increment(state.count),
            momentum,
            second_moment,
            *(per_tensor.unstack(x, params) for x in (weights, offsets, lstm)),
        )

    def _initial(self) -> np.ndarray:
        """lr, 1 - b1, 1 - b2 and eps of the fields."""
        values = (self.learning_rate, 1.0 - self.b1, 1.0 - self.b2, self.eps)
        return np.array(values, np.float32)


def _update_leaf(
    param: jax.Array,
    grad: jax.Array,
    momentum: jax.Array,
    second_moment: jax.Array,
    row: Float[Array, " 6"],
) -> tuple[jax.Array, jax.Array, jax.Array, Float[Array, " 10"]]:
    """The step, the next moments, and what the LSTM is told about one tensor."""
    learning_rate, rate1, rate2, eps, weight1, weight2 = row
    momentum = momentum + rate1 * (grad - momentum)
    second_moment = second_moment + rate2 * (jnp.square(grad) - second_moment)
    m, v = momentum / weight1, second_moment / weight2
    step = -learning_rate * (1.0 + eps) * m / (eps + jnp.sqrt(v + MIN_ROOT))
    axes = jnp.array([1.0 if param.ndim == n else -1.0 for n in (0, 1)], jnp.float32)
    statistics = [per_tensor.statistics(x) for x in (m, v, param, grad)]
    return step, momentum, second_moment, jnp.concatenate([*statistics, axes])
