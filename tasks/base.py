"""What an inner task is.

A ``Task`` is a family of problems: ``sample`` draws a member ``cfg`` of the family, and every
other method takes it. A fixed problem is a family with one member, ``cfg = ()``.
"""

import abc
from collections.abc import Callable
from typing import Any

import jax
from jaxtyping import Array, Float

Cfg = Any
"""A member of a task family: a pytree of arrays (``()`` for a fixed task)."""
Params = Any
"""Parameters of the inner problem: a pytree of float arrays."""
Batch = Any
"""One minibatch: a pytree of arrays with leading axis B."""

SPLITS = ("train", "valid", "test")


class Task(abc.ABC):
    """A family of inner problems.

    Subclasses are frozen dataclasses registered as pytrees (``flax.struct.dataclass``): data are
    leaves, so that they enter a jitted program as arguments; sizes and names are static fields.
    All methods are written for one particle and are traced: they may be vmapped and jitted.
    """

    def sample(self, key: jax.Array) -> Cfg:
        """Draw a member of the family; ``()`` where there is only one."""
        del key
        return ()

    @abc.abstractmethod
    def init(self, key: jax.Array, cfg: Cfg) -> Params:
        """Draw initial parameters of member ``cfg``."""

    @abc.abstractmethod
    def loss(
        self, key: jax.Array, cfg: Cfg, params: Params, batch: Batch
    ) -> tuple[Float[Array, ""], dict[str, Array]]:
        """Loss of ``params`` on ``batch``, and further scalar metrics (such as accuracy)."""

    @abc.abstractmethod
    def batch(self, key: jax.Array, cfg: Cfg, split: str) -> Batch:
        """Draw a batch of device-resident data.

        Args:
            key: typed PRNG key; the same key gives the same batch.
            cfg: member of the family.
            split: "train", "valid" or "test"; the three are disjoint.
        """


TASKS: dict[str, Callable[..., Task]] = {}
"""Registry of tasks by name; ``tasks/__init__.py`` holds its entries."""
