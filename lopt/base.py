"""What a learned optimizer is.

A learned optimizer has meta-parameters theta. With theta bound it *is* an
``optax.GradientTransformationExtraArgs``: what is meta-trained is what is exported, and
hand-written Optax optimizers can stand in its place.

A rule says how theta begins (``init``), what it remembers of a training (``init_state``) and what
one inner step does (``step``); ``bind`` makes the Optax optimizer of it.
"""

import abc
import dataclasses
from typing import Any, ClassVar, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float, Int

from lopt import sharding

Theta = Any
"""Meta-parameters: a dict pytree of float32 arrays."""
NumSteps = int | Int[Array, ""] | None
"""Horizon T in inner steps, which may be traced: an episode's own, drawn inside ``jit``."""


class StepInputs(NamedTuple):
    """What a rule may look at in one inner step."""

    grads: Any
    """Gradients in float32, a tree like the parameters."""
    params: Any
    """Parameters in float32; None where the caller passes none, which only rules with
    ``needs_params = False`` meet."""
    value: Float[Array, ""] | None
    """The training loss in float32; None where the caller passes none."""
    num_steps: NumSteps
    """The horizon T; never None for rules with ``needs_num_steps``."""


@dataclasses.dataclass(frozen=True)
class LearnedOptimizer(abc.ABC):
    """A family of update rules indexed by meta-parameters theta.

    Subclasses are frozen dataclasses whose fields are plain hyperparameters (ints, floats,
    strings, tuples), so that an instance is hashable, comparable and can be written as JSON.

    They define ``init`` together with ``init_state`` and ``step``; or, for an optimizer that Optax
    has already, ``init`` together with a ``bind`` of their own.

    Attributes:
        feature_version: raised when what the rule computes from the same theta changes, so that a
            theta that was trained with the former is refused instead of used wrongly.
        needs_params: whether ``step`` looks at the parameters, so that to pass none is an error.
    """

    feature_version: ClassVar[int] = 1
    needs_params: ClassVar[bool] = True

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        base = LearnedOptimizer
        is_rule = cls.init_state is not base.init_state and cls.step is not base.step
        if not is_rule and cls.bind is base.bind:
            raise TypeError(f"{cls.__name__} must define init_state and step, or bind alone.")

    @property
    def needs_num_steps(self) -> bool:
        """Whether ``step`` looks at the horizon T, so that to bind without it is an error."""
        return False

    @abc.abstractmethod
    def init(self, key: jax.Array) -> Theta:
        """Draw initial meta-parameters.

        Args:
            key: typed PRNG key.

        Returns:
            A dict pytree of float32 arrays.
        """

    def init_state(self, theta: Theta, params: Any) -> Any:
        """What the rule remembers before the first step of a training.

        Args:
            theta: meta-parameters, as returned by ``init``.
            params: parameters of any dtype, or their ``jax.ShapeDtypeStruct``.

        Returns:
            A NamedTuple with an int32 ``count``. Its arrays are float32 whatever the parameters'
            dtype, and what is kept for every parameter is in trees like the parameters
            (``transform.zeros_like``).
        """
        raise NotImplementedError(f"{type(self).__name__} defines bind alone; use its optimizer.")

    def step(self, theta: Theta, state: Any, inputs: StepInputs) -> tuple[Any, Any]:
        """Take one inner step.

        Args:
            theta: meta-parameters.
            state: what ``init_state`` or the step before returned.
            inputs: what the rule may look at.

        Returns:
            The step to ADD to the parameters, a tree like them in float32, and the next state with
            the shapes and dtypes of the one before.
        """
        raise NotImplementedError(f"{type(self).__name__} defines bind alone; use its optimizer.")

    def bind(
        self, theta: Theta, num_steps: NumSteps = None
    ) -> optax.GradientTransformationExtraArgs:
        """Fix the meta-parameters and return an ordinary Optax optimizer.

        Args:
            theta: meta-parameters, as returned by ``init``.
            num_steps: horizon T, the number of inner steps that the optimizer is expected to
                take. Rules that do not look at the fraction t / T ignore it.

        Returns:
            A gradient transformation. ``update(grads, state, params, *, value=None, **extra)``
            returns the step to ADD to the parameters, in the parameters' dtype, rounded once. It
            ignores all extra arguments but ``value``, the training loss.

        Raises:
            ValueError: ``num_steps`` is below 1, or None where the rule needs it.
        """
        self._check_num_steps(num_steps)

        def init(params: Any) -> Any:
            return sharding.join(self.init_state(theta, params), params)

        def update(
            updates: Any, state: Any, params: Any = None, *, value: Any = None, **extra_args: Any
        ) -> tuple[Any, Any]:
            del extra_args
            if params is None and self.needs_params:
                raise ValueError(
                    f"{type(self).__name__} looks at the parameters, but update() was called with "
                    "params=None; call update(grads, state, params)."
                )
            like = updates if params is None else params
            inputs = StepInputs(
                _to_float32(updates), _to_float32(params), _read_value(value), num_steps
            )
            steps, state = self.step(theta, state, inputs)
            return jax.tree.map(lambda s, p: s.astype(p.dtype), steps, like), state

        return optax.GradientTransformationExtraArgs(init, update)

    def _check_num_steps(self, num_steps: NumSteps) -> None:
        if num_steps is None and self.needs_num_steps:
            raise ValueError(
                f"{type(self).__name__} looks at the progress t / T of the training, but num_steps "
                "is None; call bind(theta, num_steps=T) with the number of inner steps."
            )
        if isinstance(num_steps, int) and num_steps < 1:
            raise ValueError(
                f"num_steps = {num_steps} must be a number of inner steps, at least 1."
            )


def _to_float32(tree: Any) -> Any:
    return jax.tree.map(lambda x: jnp.asarray(x).astype(jnp.float32), tree)


def _read_value(value: Any) -> Float[Array, ""] | None:
    """The training loss in float32."""
    if value is not None and jnp.shape(value) != ():
        raise ValueError(
            f"value has shape {jnp.shape(value)}, but must be the training loss, a scalar; leave "
            "it out where there is none."
        )
    return None if value is None else jnp.asarray(value).astype(jnp.float32)


LOPTS: dict[str, type[LearnedOptimizer]] = {}
"""Registry of learned optimizers by name; ``lopt/__init__.py`` holds its entries."""
