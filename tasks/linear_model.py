"""Linear models of ill-conditioned features: convex, with or without noise.

Rows are x = M z with z ~ N(0, I), M = diag(e) Q with Q a random rotation and singular values e from
1 down to condition ** -1/2, so that the Hessian of least squares has the condition number on
average. Targets are y = x . w + noise, with x . w of standard deviation 1; along a singular
direction it is of order e ** p, p uniform on (0, 1): the smaller p, the farther is w. With fewer
rows than dimensions they can be memorised; with no more rows than a batch holds, every step sees
them all, and without noise nothing is random.
"""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import flax.struct
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from tasks.base import Task
from tasks.checks import check_choice, check_int, check_ints, check_range
from tasks.datasets.splits import split_bounds
from tasks.draws import log_integer, log_uniform

_MOST_ROWS = 512  # per split

LOSSES: dict[str, Callable[[Array, Array], Array]] = {
    "squared": lambda output, target: jnp.square(output - target),
    "absolute": lambda output, target: jnp.abs(output - target),
    "logistic": lambda output, target: jax.nn.softplus(-jnp.sign(target) * output),
}
"""Losses of an output and a target by name; "logistic" has only the target's sign."""


class Member(NamedTuple):
    """One problem."""

    transform: Float[Array, "dim dim"]
    """M transposed."""
    slope: Float[Array, " dim"]
    """M' w: the weights on z."""
    num_examples: Int[Array, ""]
    """Rows that training draws from."""
    first: Int[Array, ""]
    """Place of the first of them."""
    noise: Float[Array, ""]
    init_scale: Float[Array, ""]


@flax.struct.dataclass
class LinearModel(Task):
    """Fit a linear function; the loss is one of ``LOSSES``.

    Each pair is (smallest, largest), drawn log-uniformly, the noise uniformly.

    Attributes:
        rows: float32 [3 * 512, dim + 1], z and the noise of each row, normal.
        loss_name: a name in ``LOSSES``.
        condition: condition number of the features' covariance.
        num_examples: rows that training draws from.
        noise: standard deviation of what is added to targets of training.
        init_scale: initial weights have std init_scale / sqrt(dim).
        batch_size: rows per batch, B: neighbours that wrap around, so none is there twice.
    """

    rows: Any
    loss_name: str = flax.struct.field(pytree_node=False)
    condition: tuple[float, float] = flax.struct.field(pytree_node=False)
    num_examples: tuple[int, int] = flax.struct.field(pytree_node=False)
    noise: tuple[float, float] = flax.struct.field(pytree_node=False)
    init_scale: tuple[float, float] = flax.struct.field(pytree_node=False)
    batch_size: int = flax.struct.field(pytree_node=False)

    def sample(self, key: jax.Array) -> Member:
        dim = self.rows.shape[-1] - 1
        # One draw for all: each further threefry call costs compile time.
        normal = jax.random.normal(key, (dim + 2, max(dim, 6)), jnp.float32)
        uniform = jax.scipy.special.ndtr(normal[1])
        exponents = np.linspace(0, -0.5, dim, dtype=np.float32)
        spread = log_uniform(uniform[0], self.condition) ** exponents
        rotation = jnp.linalg.qr(normal[2:, :dim])[0]
        transform = rotation * spread[None]
        slope = rotation @ (spread ** uniform[5] * normal[0, :dim])
        quiet, loud = (np.float32(noise) for noise in self.noise)
        return Member(
            transform=transform,
            slope=slope / jnp.linalg.norm(slope),
            num_examples=log_integer(uniform[1], self.num_examples),
            first=(uniform[4] * _MOST_ROWS).astype(jnp.int32) % _MOST_ROWS,
            noise=quiet + uniform[2] * (loud - quiet),
            init_scale=log_uniform(uniform[3], self.init_scale),
        )

    def init(self, key: jax.Array, cfg: Member) -> dict[str, Array]:
        """{"kernel": [dim], "bias": []}."""
        dim = self.rows.shape[-1] - 1
        kernel = jax.random.normal(key, (dim,), jnp.float32) * np.float32(dim**-0.5)
        return {"kernel": cfg.init_scale * kernel, "bias": jnp.zeros((), jnp.float32)}

    def loss(
        self, key: jax.Array, cfg: Member, params: dict[str, Array], batch: dict[str, Array]
    ) -> tuple[Float[Array, ""], dict[str, Array]]:
        del key
        output = batch["row"] @ (cfg.transform @ params["kernel"]) + params["bias"]
        return jnp.mean(LOSSES[self.loss_name](output, batch["target"])), {}

    def batch(self, key: jax.Array, cfg: Member, split: str) -> dict[str, Array]:
        """{"row": [B, dim], "target": [B]}: z and y, which is noisy in "train" alone."""
        start, _ = split_bounds(split, _MOST_ROWS, _MOST_ROWS, len(self.rows))
        count, noise = _MOST_ROWS, np.float32(0)
        if split == "train":
            count, noise = cfg.num_examples, cfg.noise
        word = jax.random.bits(key, (), jnp.uint32) >> 8
        place = (word.astype(jnp.int32) + jnp.arange(self.batch_size, dtype=jnp.int32)) % count
        index = start + (cfg.first + place) % _MOST_ROWS
        rows = self.rows.at[index].get(mode="promise_in_bounds")
        return {"row": rows[:, :-1], "target": rows[:, :-1] @ cfg.slope + noise * rows[:, -1]}


def linear_model(
    loss: str = "squared",
    dim: int = 24,
    condition: Sequence[float] = (1.0, 1e4),
    num_examples: Sequence[int] = (16, 512),
    noise: Sequence[float] = (0.0, 0.0),
    init_scale: Sequence[float] = (0.1, 3.0),
    batch_size: int = 32,
    data_seed: int = 0,
) -> LinearModel:
    """Linear models of ill-conditioned features. Each pair is (smallest, largest).

    Args:
        loss: "squared", "absolute", or "logistic" on the targets' signs.
        dim: number of features.
        condition: condition number of the features' covariance, log-uniform.
        num_examples: rows that training draws from, up to 512, log-uniform; no more than
            ``batch_size`` make every batch the whole of them.
        noise: standard deviation of what is added to targets of training, uniform.
        init_scale: initial weights have std init_scale / sqrt(dim), log-uniform.
        batch_size: rows per batch.
        data_seed: another seed draws other rows.

    Raises:
        ValueError: a value is out of range or a name unknown.
    """
    check_choice("loss", loss, LOSSES)
    check_int("dim", dim, 1)
    check_int("batch_size", batch_size, 1)
    check_int("data_seed", data_seed, 0)
    low, high = check_range("num_examples", check_ints("num_examples", num_examples, 1), 1.0)
    if high > _MOST_ROWS:
        raise ValueError(f"num_examples = {num_examples} must be at most {_MOST_ROWS}.")
    # A stream of its own: the rows are no initial parameters of a run with the same seed.
    key = jax.random.fold_in(jax.random.key(data_seed), int.from_bytes(b"rows"))
    return LinearModel(
        jax.random.normal(key, (3 * _MOST_ROWS, dim + 1), jnp.float32),
        loss,
        check_range("condition", condition, 1.0),
        (int(low), int(high)),
        check_range("noise", noise, 0.0),
        check_range("init_scale", init_scale, float(np.finfo(np.float32).tiny)),
        batch_size,
    )
