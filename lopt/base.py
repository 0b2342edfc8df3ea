"""What a learned optimizer is.

A learned optimizer has meta-parameters theta. With theta bound it *is* an
``optax.GradientTransformationExtraArgs``: what is meta-trained is what is exported, and
hand-written Optax optimizers can stand in its place.
"""

import abc
import dataclasses
from typing import Any, ClassVar

import jax
import optax

Theta = Any
"""Meta-parameters: a dict pytree of float32 arrays."""


@dataclasses.dataclass(frozen=True)
class LearnedOptimizer(abc.ABC):
    """A family of update rules indexed by meta-parameters theta.

    Subclasses are frozen dataclasses whose fields are plain hyperparameters (ints, floats,
    strings, tuples), so that an instance is hashable, comparable and can be written as JSON.

    Attributes:
        feature_version: raised when what the rule computes from the same theta changes, so that a
            theta that was trained with the former is refused instead of used wrongly.
    """

    feature_version: ClassVar[int] = 1

    @abc.abstractmethod
    def init(self, key: jax.Array) -> Theta:
        """Draw initial meta-parameters.

        Args:
            key: typed PRNG key.

        Returns:
            A dict pytree of float32 arrays.
        """

    @abc.abstractmethod
    def bind(
        self, theta: Theta, num_steps: int | None = None
    ) -> optax.GradientTransformationExtraArgs:
        """Fix the meta-parameters and return an ordinary Optax optimizer.

        Args:
            theta: meta-parameters, as returned by ``init``.
            num_steps: horizon T, the number of inner steps that the optimizer is expected to
                take. Rules that do not look at the fraction t / T ignore it.

        Returns:
            A gradient transformation. ``update(grads, state, params, *, value=None, **extra)``
            returns the step to ADD to the parameters, in the parameters' dtype.
        """


LOPTS: dict[str, type[LearnedOptimizer]] = {}
"""Registry of learned optimizers by name; ``lopt/__init__.py`` holds its entries."""
