"""Families made of any task: random amount of data, noise, batch size, scale, parametrisation.

``family_of(image_conv)`` is a factory of families of convolutional networks: it takes the fields of
``image_conv`` and those of the augmentation. Sizes are static, everything else is drawn, so that
one compiled program serves all members, and particles with different members can be vmapped.

The parametrisation is that of Celo (arXiv:2501.12670): a tensor w is stored as w / r with r
log-uniform, and multiplied by r in the forward pass. The function and its initial value are
unchanged, but gradients grow by r and the right steps shrink by r.
"""

import dataclasses
import inspect
from collections.abc import Callable
from typing import Any, NamedTuple

import flax.struct
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from tasks.base import Batch, Cfg, Params, Task
from tasks.checks import check_int, check_ints, check_range
from tasks.datasets.subset import Subset
from tasks.draws import integer, log_integer, log_uniform
from tasks.networks import scale_drawn


class Member(NamedTuple):
    """One task of the family."""

    inner: Cfg
    """Member of the task that is augmented."""
    subset: Subset
    """Examples that training draws from."""
    distinct: Int[Array, ""]
    """Different examples in a training batch; the others repeat them."""
    init_scale: Float[Array, ""]
    """Factor of initial kernels and embeddings."""
    reparam: Float[Array, " tensors"]
    """Scale r of each tensor, in flattened order."""


@flax.struct.dataclass
class Augmented(Task):
    """A task with random data and parametrisation; its losses and metrics are those of the task.

    "valid" and "test" batches are those of the task: all examples, without noise, of full size.
    Each pair is (smallest, largest).

    Attributes:
        task: what is augmented; its ``data`` has a ``subset``.
        num_examples: examples that training draws from, log-uniform.
        label_noise: see ``Subset.noise``, uniform.
        init_scale: factor of the task's own initial kernels and embeddings, log-uniform.
        reparam: scale r of each tensor, log-uniform.
        halvings: a training batch has B / 2**k different examples, k uniform on 0..halvings.
    """

    task: Any
    num_examples: tuple[int, int] = flax.struct.field(pytree_node=False)
    label_noise: tuple[float, float] = flax.struct.field(pytree_node=False)
    init_scale: tuple[float, float] = flax.struct.field(pytree_node=False)
    reparam: tuple[float, float] = flax.struct.field(pytree_node=False)
    halvings: int = flax.struct.field(pytree_node=False)

    def sample(self, key: jax.Array) -> Member:
        key_inner, key_member = jax.random.split(key)
        inner = self.task.sample(key_inner)
        tensors = len(jax.tree.leaves(jax.eval_shape(self.task.init, key, inner)))
        # One draw for all: each further threefry call costs more than a second of compile time.
        words = jax.random.bits(key_member, (6 + tensors,), jnp.uint32)
        uniform = (words >> 8).astype(jnp.float32) * np.float32(2**-24)
        quiet, loud = (np.float32(noise) for noise in self.label_noise)
        subset = Subset(
            first=words[0],
            count=log_integer(uniform[1], self.num_examples).astype(jnp.uint32),
            noise=quiet + uniform[2] * (loud - quiet),
            salt=words[3],
        )
        halved = jnp.int32(self.task.batch_size) >> integer(uniform[4], 0, self.halvings)
        init_scale = log_uniform(uniform[5], self.init_scale)
        return Member(inner, subset, halved, init_scale, log_uniform(uniform[6:], self.reparam))

    def init(self, key: jax.Array, cfg: Member) -> Params:
        params = scale_drawn(self.task.init(key, cfg.inner), cfg.init_scale)
        return _rescale(params, 1 / cfg.reparam)

    def loss(
        self, key: jax.Array, cfg: Member, params: Params, batch: Batch
    ) -> tuple[Float[Array, ""], dict[str, Array]]:
        return self.task.loss(key, cfg.inner, _rescale(params, cfg.reparam), batch)

    def batch(self, key: jax.Array, cfg: Member, split: str) -> Batch:
        """What the task draws; in "train" from the member's own examples."""
        if split != "train":
            return self.task.batch(key, cfg.inner, split)
        data = dataclasses.replace(self.task.data, subset=cfg.subset)
        drawn = dataclasses.replace(self.task, data=data).batch(key, cfg.inner, split)
        if not self.halvings:
            return drawn
        repeated = jnp.arange(self.task.batch_size, dtype=jnp.int32) % cfg.distinct
        return jax.tree.map(lambda x: x.at[repeated].get(mode="promise_in_bounds"), drawn)


def family_of(
    factory: Callable[..., Any], noisy: bool = True, **fixed: Any
) -> Callable[..., Augmented]:
    """Factory of the families of augmented tasks; it takes the fields of both.

    Besides those of ``factory``, except ``init_scale`` and ``fixed``, its fields are

    - num_examples = (200, 1_000_000): examples that training draws from, log-uniform up to as many
      as there are;
    - label_noise = (0.0, 0.2), only where ``noisy``: probability of a wrong class, or standard
      deviation of what is added to a number, uniform;
    - init_scale = (0.5, 2.0): factor of initial kernels and embeddings, log-uniform;
    - reparam = (0.5, 2.0): scale of each tensor, log-uniform; (1, 1) turns it off, Celo takes
      (1e-3, 1e3);
    - halvings = 2: a batch has B / 2**k different examples, k uniform on 0..halvings.

    Args:
        factory: of a task whose ``data`` has a ``subset``.
        noisy: the task has classes or numbers to predict.
        **fixed: arguments of ``factory`` that are no fields of the family.
    """
    ranges: dict[str, Any] = {
        "num_examples": (200, 1_000_000),
        "label_noise": (0.0, 0.2),
        "init_scale": (0.5, 2.0),
        "reparam": (0.5, 2.0),
        "halvings": 2,
    }
    if not noisy:
        del ranges["label_noise"]

    def make_family(**fields: Any) -> Augmented:
        drawn = {name: fields.pop(name, default) for name, default in ranges.items()}
        return _augment(factory(**fixed, **fields), **drawn)

    hidden = {"init_scale", "reparam", *fixed}
    inner = inspect.signature(factory, eval_str=True).parameters.values()
    kept = [x.replace(kind=x.KEYWORD_ONLY) for x in inner if x.name not in hidden]
    added = [
        inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=default)
        for name, default in ranges.items()
    ]
    signature: Any = make_family
    signature.__signature__ = inspect.Signature([*kept, *added])
    signature.__wrapped__ = factory
    make_family.__doc__ = f"Augmented: {inspect.getdoc(factory)}"
    make_family.__qualname__ = make_family.__name__ = f"family_of({factory.__name__})"
    return make_family


def _augment(
    task: Any,
    num_examples: Any,
    init_scale: Any,
    reparam: Any,
    halvings: Any,
    label_noise: Any = (0.0, 0.0),
) -> Augmented:
    if getattr(task.data, "stream", None) is not None:
        raise ValueError(
            "each member of an augmented family trains on examples of its own, which a data set "
            "that streams does not keep; raise config.data_limit_mb until it is held whole, or "
            "train on the task itself."
        )
    low, high = check_range("num_examples", check_ints("num_examples", num_examples, 1), 1.0)
    start, stop = task.data.bounds("train")
    tiny = float(np.finfo(np.float32).tiny)
    return Augmented(
        task,
        num_examples=(min(int(low), stop - start), min(int(high), stop - start)),
        label_noise=check_range("label_noise", label_noise, 0.0),
        init_scale=check_range("init_scale", init_scale, tiny),
        reparam=check_range("reparam", reparam, tiny),
        halvings=_check_halvings(halvings, task.batch_size),
    )


def _check_halvings(halvings: Any, batch_size: int) -> int:
    if batch_size % 2 ** check_int("halvings", halvings, 0):
        raise ValueError(
            f"batch_size = {batch_size} cannot be halved {halvings} times; give a multiple of "
            f"{2**halvings} or fewer halvings."
        )
    return halvings


def _rescale(params: Params, scales: Float[Array, " tensors"]) -> Params:
    leaves, structure = jax.tree.flatten(params)
    return jax.tree.unflatten(structure, [leaf * scales[i] for i, leaf in enumerate(leaves)])
