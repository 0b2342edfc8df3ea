"""A tiny multilayer perceptron whose step has a fixed size (``celo2`` and ``celo2_base``).

Per parameter p, from the accumulators of lopt/accumulators.py (v with the decay 0.95) of gradients
clipped to +-1000, without correction for their start at zero:

    u = MLP(30 features; 15 of them for tensors with fewer than two axes)
    celo2: U <- the nearest semi-orthogonal matrix, by 5 steps of Newton-Schulz
    p <- p - learning_rate * u / RMS(u)

Features and steps are divided by their root mean square over the last two axes, over which celo2
also makes matrices. For tensors with fewer than two axes, celo2 takes steps of Adam instead, with a
20 times larger learning rate, ``celo2_base`` those of the MLP. Embeddings, which the authors leave
to Adam, too, cannot be told from other matrices: leave them out by ``optax.partition``.

The learning rate and its schedule are the user's, like weight decay: see ``lopt.with_options``. No
step depends on the second and third output of the MLP, which are there so that published weights
fit: ``w0`` is their ``w0__0``, ``w0__1``, ... one below the other. The first theta follows
m_1 / sqrt(v) (``per_parameter.point_down``).

References:
    [1] Moudgil et al. 2026, "Celo2", https://arxiv.org/abs/2602.19142
    [2] Jordan et al. 2024, "Muon", https://kellerjordan.github.io/posts/muon/
"""

import dataclasses
import math
from typing import Any, ClassVar, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from lopt import accumulators, per_parameter, per_tensor, sharding, transform
from lopt.accumulators import Accumulators
from lopt.base import LearnedOptimizer, StepInputs, Theta

RATES = accumulators.RATES._replace(second_moment=np.array([0.05], np.float32))
"""One minus the decays, of which that of v is 0.95."""
EPSILON = 1e-8
NORMALISER_EPSILON = 1e-9
CLIPPED = 0.1
"""Gradients clipped to this size are one of the features."""
NUM_FEATURES = 30
VECTOR_FEATURES = 15
"""The first of them, which do not need two axes."""
DESCENT_FEATURE = 7
"""m_1 / sqrt(v), which the first theta follows."""
ADAM_FACTOR = 20.0
NEWTON_SCHULZ = (3.4445, -4.7750, 2.0315)
NEWTON_SCHULZ_STEPS = 5


class Celo2State(NamedTuple):
    """State of ``celo2``: that of ``adafac_mlp``."""

    count: Int[Array, ""]  # pyright: ignore[reportIncompatibleMethodOverride]
    accumulators: Accumulators
    """Trees like the parameters."""


@dataclasses.dataclass(frozen=True)
class _Celo2(LearnedOptimizer):
    """What the two rules share; 347 meta-parameters by default."""

    orthogonal: ClassVar[bool]

    hidden: tuple[int, ...] = (8, 8)
    learning_rate: float = 0.001

    def __post_init__(self) -> None:
        hidden = transform.check_widths("hidden", self.hidden, smallest=2)
        object.__setattr__(self, "hidden", hidden)
        if not 0 < self.learning_rate < math.inf:
            raise ValueError(f"learning_rate = {self.learning_rate} must be positive and finite.")

    def init(self, key: jax.Array) -> Theta:
        """Draw theta: ``{"mlp": {"w0": [30, 8], "b0": [8], ...}}``."""
        net = per_parameter.init_net(key, (NUM_FEATURES, *self.hidden, 3))
        return {"mlp": per_parameter.point_down(net, DESCENT_FEATURE)}

    def init_state(self, theta: Theta, params: Any) -> Celo2State:
        return Celo2State(transform.zero_count(), accumulators.init(params))

    def step(self, theta: Theta, state: Celo2State, inputs: StepInputs) -> tuple[Any, Celo2State]:
        grads = per_tensor.clip(inputs.grads)
        new = accumulators.update(grads, state.accumulators, RATES)

        def step_leaf(param: jax.Array, grad: jax.Array, acc: Accumulators) -> jax.Array:
            return -self.learning_rate * self._direction(theta["mlp"], param, grad, acc)

        steps = jax.tree.map(step_leaf, inputs.params, grads, new)
        moved = accumulators.by_field(new, grads)
        return steps, Celo2State(transform.increment(state.count), moved)

    def _direction(
        self, net: per_parameter.Net, param: jax.Array, grad: jax.Array, acc: Accumulators
    ) -> jax.Array:
        if self.orthogonal and grad.ndim < 2:
            adam = acc.momenta[0] * jax.lax.rsqrt(acc.second_moment[0] + EPSILON)
            return ADAM_FACTOR * adam
        features = [_normalise(x) for x in _features(param, grad, acc)]
        if grad.ndim < 2:
            net = {**net, "w0": net["w0"][:VECTOR_FEATURES]}
        out = per_parameter.evaluate_net(net, features, grad.shape, lambda *outputs: outputs[0])
        if self.orthogonal:
            out = sharding.split_like(_orthogonalise(sharding.whole(out)), out)
        return _normalise(out[None])[0]


@dataclasses.dataclass(frozen=True)
class Celo2Lopt(_Celo2):
    """Celo2 with orthogonal steps of matrices and Adam for the rest.

    Attributes:
        hidden: widths of the hidden layers, at least 2; up to 8 is much faster than more.
        learning_rate: root mean square of the steps of matrices; mostly from 1e-5 to 1e-2.
    """

    orthogonal: ClassVar[bool] = True


@dataclasses.dataclass(frozen=True)
class Celo2BaseLopt(_Celo2):
    """Celo2 whose MLP makes all steps; fields as those of ``celo2``."""

    orthogonal: ClassVar[bool] = False


def _features(param: jax.Array, grad: jax.Array, acc: Accumulators) -> list[jax.Array]:
    """The features in the published order, as arrays [k, ...]."""
    rsqrt = jax.lax.rsqrt(acc.second_moment + EPSILON)
    *_, by_row, row, col, row_rsqrt, col_rsqrt, by_momentum = accumulators.features(
        grad[None], param[None], acc, accumulators.row_scale(acc.row, grad.shape)
    )
    of_all = [
        grad[None],
        jnp.clip(grad, -CLIPPED, CLIPPED)[None],
        param[None],
        acc.momenta,
        acc.second_moment,
        acc.momenta * rsqrt,
        rsqrt,
        by_row,
        grad[None] * rsqrt,
    ]
    if grad.ndim < 2:
        return of_all
    return [*of_all, row, col, row_rsqrt, col_rsqrt, by_momentum]


def _normalise(x: Float[Array, "k ..."]) -> Float[Array, "k ..."]:
    """Divided by the root mean square over the last two axes of the tensor, or as many as it has.

    An axis of length 1 stands for equal values along a longer one, which have the same mean.
    """
    axes = tuple(range(max(1, x.ndim - 2), x.ndim))
    squares = jnp.sum(jnp.square(x), axis=axes, keepdims=True)
    count = max(math.prod(x.shape[axis] for axis in axes), 1)
    return x * jax.lax.rsqrt(NORMALISER_EPSILON + squares / count)


def _orthogonalise(x: Float[Array, "*n rows cols"]) -> Float[Array, "*n rows cols"]:
    """Matrices with their singular values brought near one."""
    if x.shape[-2] > x.shape[-1]:
        return jnp.matrix_transpose(_orthogonalise(jnp.matrix_transpose(x)))
    x = x * jax.lax.rsqrt(jnp.sum(jnp.square(x), axis=(-2, -1), keepdims=True) + EPSILON**2)
    linear, cubic, quintic = NEWTON_SCHULZ
    for _ in range(NEWTON_SCHULZ_STEPS):
        gram = x @ jnp.matrix_transpose(x)
        x = linear * x + (cubic * gram + quintic * gram @ gram) @ x
    return x
