"""The types that every estimator and every system share.

An *unrolled computation graph* is anything with ``state, loss = step(key, theta, state)``. A
gradient estimator turns one into an estimate of the gradient of its loss with respect to theta
and knows nothing else of it.

Axes: N particles (N = 2 * num_pairs), K inner steps of one truncation, T inner steps of one
episode, P meta-parameters. Code is written for one particle unless a name says otherwise.
"""

import abc
from collections.abc import Callable
from typing import Any, ClassVar, NamedTuple

import jax
from jaxtyping import Array, Float, Int

Theta = Any
"""Meta-parameters: a pytree of float32 arrays."""
State = Any
"""State of one unrolled system: a pytree of arrays with a structure that never changes."""
EstimatorState = Any
"""What an estimator carries between meta-steps: particles, accumulators, clocks.

Every leaf has a leading axis of ``num_groups``, the axis that is split over devices."""


class UnrolledSystem(abc.ABC):
    """A computation graph unrolled over inner steps, with parameters theta.

    Subclasses are frozen dataclasses registered as pytrees (``flax.struct.dataclass``): arrays
    are leaves and enter the jitted meta-step as arguments, all else is static.
    """

    @abc.abstractmethod
    def init(self, key: jax.Array, theta: Theta) -> State:
        """State before the first inner step of an episode."""

    @abc.abstractmethod
    def step(self, key: jax.Array, theta: Theta, state: State) -> tuple[State, Float[Array, ""]]:
        """Take one inner step; return the next state and this step's meta-loss."""

    def init_theta(self, key: jax.Array) -> Theta:
        """Initial meta-parameters; needed only where a run starts from a config file."""
        raise NotImplementedError(
            f"{type(self).__name__} defines no init_theta(key); define it, or pass theta to "
            "MetaTrainer.init."
        )


SYSTEMS: dict[str, Callable[..., UnrolledSystem]] = {}
"""Registry of unrolled systems by name; ``meta_train/__init__.py`` holds its entries."""


class Estimate(NamedTuple):
    """One estimate of the meta-gradient."""

    grad: Theta
    """Same structure as theta."""
    loss: Float[Array, ""]
    """Meta-loss per inner step, averaged over the live steps of all healthy particles."""
    metrics: dict[str, Array]
    """Diagnostics, all scalars; "diverged" counts the particles that were dropped."""


class GradientEstimator(abc.ABC):
    """An estimator of dJ/dtheta, J = E[sum_t l_t] / E[T] over episodes of T inner steps.

    Subclasses are frozen dataclasses of hyperparameters, hence hashable; the system is an
    argument and may be any ``UnrolledSystem``.
    """

    unbiased: ClassVar[bool]
    """Whether the expectation of one estimate is exactly the gradient of the smoothed J."""

    @property
    def num_groups(self) -> int:
        """Particles or groups of them that may run on different devices; 1: none may.

        Above 1, ``estimate`` meets the groups of one device alone and must reduce over all of
        them with ``meta_train.parallel.sum_over_devices``.
        """
        return 1

    @abc.abstractmethod
    def init(self, system: UnrolledSystem, key: jax.Array, theta: Theta) -> EstimatorState:
        """State of all particles before the first meta-step."""

    @abc.abstractmethod
    def estimate(
        self, system: UnrolledSystem, key: jax.Array, theta: Theta, state: EstimatorState
    ) -> tuple[Estimate, EstimatorState]:
        """Take one truncation of K inner steps with every particle and estimate the gradient."""


ESTIMATORS: dict[str, type[GradientEstimator]] = {}
"""Registry of estimators by name; ``meta_train/__init__.py`` holds its entries."""


class MetaState(NamedTuple):
    """Everything that a meta-training run carries from one meta-step to the next."""

    meta_step: Int[Array, ""]
    key: jax.Array
    theta: Theta
    meta_opt_state: Any
    estimator_states: tuple[EstimatorState, ...]
