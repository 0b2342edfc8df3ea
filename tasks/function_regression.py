"""Regression on random functions: sums of sines, or teacher networks with one hidden layer.

A member is the function

    f(x) = sum_k a_k g(w_k . (s * x) + b_k),    s_j ~ j ** -decay,

with g the sine or tanh, of random frequency and number of units, shifted and scaled to mean 0 and
standard deviation 1. The student is an MLP. With one input and sines it is the regression of MAML
(Finn et al. 2017, arXiv:1703.03400); with many it is a teacher and a student.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import flax.struct
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from tasks.base import Task
from tasks.checks import check_batch, check_choice, check_int, check_ints, check_range
from tasks.datasets.tabular import Table
from tasks.draws import integer, log_uniform
from tasks.networks import ACTIVATIONS, MLP, draw_kernels, parameter_shapes, scale_kernels

FUNCTIONS = {"sine": (jnp.sin, np.pi), "tanh": (jnp.tanh, 1.0)}
"""Functions g by name, and the largest size of their phases b."""


class Member(NamedTuple):
    """One function."""

    spread: Float[Array, " dim"]
    """Factors s of the inputs."""
    weights: Float[Array, "dim units"]
    phases: Float[Array, " units"]
    amplitudes: Float[Array, " units"]
    """a, zero where a unit is not used, divided by the standard deviation of the function."""
    mean: Float[Array, ""]


@flax.struct.dataclass
class FunctionRegression(Task):
    """Fit a random function; loss is the squared error, of which 1 is that of the mean.

    Each pair is (smallest, largest).

    Attributes:
        data: inputs, normal, with targets of zero, to which a subset adds its noise.
        module: the student, from inputs [B, dim] to numbers [B, 1].
        function: name of g in ``FUNCTIONS``.
        units: number of terms, uniform up to it.
        frequency: std of w_k . x before the decay, log-uniform.
        decay: how fast later inputs get smaller, uniform.
        batch_size: examples per batch, B, drawn with replacement.
    """

    data: Table
    module: MLP = flax.struct.field(pytree_node=False)
    function: str = flax.struct.field(pytree_node=False)
    units: int = flax.struct.field(pytree_node=False)
    frequency: tuple[float, float] = flax.struct.field(pytree_node=False)
    decay: tuple[float, float] = flax.struct.field(pytree_node=False)
    batch_size: int = flax.struct.field(pytree_node=False)

    def sample(self, key: jax.Array) -> Member:
        dim = self.data.features.shape[-1]
        # One draw for all: each further threefry call costs compile time.
        normal = jax.random.normal(key, (dim + 3, max(self.units, 3)), jnp.float32)
        uniform = jax.scipy.special.ndtr(normal[:2])
        low, high = (np.float32(bound) for bound in self.decay)
        order = jnp.arange(1, dim + 1, dtype=jnp.float32)
        spread = order ** -(low + uniform[0, 0] * (high - low))
        live = jnp.arange(self.units, dtype=jnp.int32) < integer(uniform[0, 1], 1, self.units)
        frequency = log_uniform(uniform[0, 2], self.frequency) / np.float32(np.sqrt(dim))
        plain = Member(
            spread=spread,
            weights=frequency * normal[3:, : self.units],
            phases=np.float32(FUNCTIONS[self.function][1]) * (2 * uniform[1, : self.units] - 1),
            amplitudes=jnp.where(live, normal[2, : self.units], 0.0),
            mean=jnp.zeros((), jnp.float32),
        )
        values = self._values(plain, self.data.features[:512])
        scale = 1 / (jnp.std(values) + 1e-6)
        return plain._replace(amplitudes=plain.amplitudes * scale, mean=jnp.mean(values) * scale)

    def init(self, key: jax.Array, cfg: Member) -> dict[str, Any]:
        row = jax.ShapeDtypeStruct((1, self.data.features.shape[-1]), jnp.float32)
        return scale_kernels(draw_kernels(key, parameter_shapes(self.module, row)), 1.0)

    def loss(
        self, key: jax.Array, cfg: Member, params: dict[str, Any], batch: dict[str, Array]
    ) -> tuple[Float[Array, ""], dict[str, Array]]:
        del key, cfg
        outputs: Any = self.module.apply({"params": params}, batch["features"])
        return jnp.mean(jnp.square(outputs[:, 0] - batch["target"])), {}

    def batch(self, key: jax.Array, cfg: Member, split: str) -> dict[str, Array]:
        """Inputs {"features": [B, dim]} and numbers {"target": [B]}."""
        inputs, noise = self.data.draw(key, split, self.batch_size)
        target = self._values(cfg, inputs) - cfg.mean + noise
        return {"features": inputs * cfg.spread[None], "target": target}

    def _values(self, cfg: Member, inputs: Float[Array, "n dim"]) -> Float[Array, " n"]:
        angles = (inputs * cfg.spread[None]) @ cfg.weights + cfg.phases[None]
        return FUNCTIONS[self.function][0](angles) @ cfg.amplitudes


def function_regression(
    dim: int = 16,
    function: str = "tanh",
    units: int = 16,
    frequency: Sequence[float] = (0.5, 3.0),
    decay: Sequence[float] = (0.0, 1.5),
    hidden: Sequence[int] = (32,),
    activation: str = "relu",
    batch_size: int = 32,
    num_rows: int = 4096,
    data_seed: int = 0,
) -> FunctionRegression:
    """Family of random functions that an MLP fits. Each pair is (smallest, largest).

    Args:
        dim: number of inputs.
        function: "sine" or "tanh".
        units: most terms of a function.
        frequency: std of a term's angle for inputs without decay, log-uniform.
        decay: exponent by which later inputs get smaller, uniform; 0 keeps them alike.
        hidden: widths of the student's hidden layers.
        activation: a name in ``tasks.ACTIVATIONS``.
        batch_size: examples per batch.
        num_rows: inputs in all, 60 % of them "train".
        data_seed: another seed draws other inputs.

    Raises:
        ValueError: a value is out of range or a name unknown.
    """
    check_int("dim", dim, 1)
    check_choice("function", function, FUNCTIONS)
    check_int("units", units, 1)
    widths = check_ints("hidden", hidden, 1)
    check_choice("activation", activation, ACTIVATIONS)
    check_int("batch_size", batch_size, 1)
    check_int("num_rows", num_rows, 5)
    check_int("data_seed", data_seed, 0)
    # A stream of its own: the inputs are no initial parameters of a run with the same seed.
    key = jax.random.fold_in(jax.random.key(data_seed), int.from_bytes(b"rows"))
    features = jax.random.normal(key, (num_rows, dim), jnp.float32)
    data = Table(features, jnp.zeros((num_rows,), jnp.float32), None)
    check_batch("function_regression", batch_size, data.bounds("train")[1])
    return FunctionRegression(
        data,
        MLP(widths, 1, activation),
        function,
        units,
        check_range("frequency", frequency, float(np.finfo(np.float32).tiny)),
        check_range("decay", decay, 0.0),
        batch_size,
    )
