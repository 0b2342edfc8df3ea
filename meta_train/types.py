"""The types that every estimator and every system share.

An *unrolled computation graph* is anything with ``state, loss = step(key, theta, state)``. A
gradient estimator turns one into an estimate of the gradient of its loss with respect to theta
and knows nothing else of it.

Axes: N particles, K inner steps of one truncation, T inner steps of one
episode, P meta-parameters. Code is written for one particle unless a name says otherwise.
"""

import abc
import dataclasses
from collections.abc import Callable
from typing import Any, ClassVar, NamedTuple

import jax
from jaxtyping import Array, Float, Int

from meta_train.horizons import Horizon, make_horizon

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
    def init(self, key: jax.Array, theta: Theta, horizon: Int[Array, ""]) -> State:
        """State before the first inner step of an episode.

        Args:
            key: typed PRNG key of the episode.
            theta: meta-parameters.
            horizon: T of this very episode, in inner steps; traced, because episodes differ. The
                largest int32 where episodes never end. A system that looks at it keeps it in its
                state.
        """

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


@dataclasses.dataclass(frozen=True)
class GradientEstimator(abc.ABC):
    """An estimator of dJ/dtheta; J is the meta-loss per inner step, over episodes of T steps.

    Subclasses are frozen dataclasses of hyperparameters, hence hashable; the system is an
    argument and may be any ``UnrolledSystem``.

    Args:
        horizon: episode length T in inner steps, a ``Horizon``, or None for an episode that never
            ends.
        truncation_length: K, inner steps of one truncation; None is the longest T.
        mean_over: "steps" weighs every inner step alike, J = E[sum_t l_t] / E[T]; "episodes" every
            episode, J = E[(sum_t l_t) / T]. They differ where T is random. The formulas of the
            subclasses are those of "steps"; for "episodes" the T of the particle's own episode
            stands in the place of E[T].

    What most subclasses have besides:
        num_pairs: antithetic pairs, N = 2 * num_pairs particles.
        num_particles: N, where particles are independent of each other; None takes 2 * num_pairs,
            so that the same num_pairs means the same inner steps for every estimator.
        std: standard deviation sigma of the perturbations, in units of theta; or one for each of
            theta's top-level groups, by name. A group of 0 is not trained.
        perturbation: how pairs draw eps: "normal", from N(0, sigma^2 I); "sign", +-sigma in every
            element, which makes P + 1 of the variance of ES P - 1, and averages each partial
            derivative over perturbations of one size only; "orthogonal", normal ones of which those
            that up to P pairs draw in the same meta-step are orthogonal, which makes (P + 1) / n of
            the variance of full ES (P + 2) / n - 1 for n <= P pairs. All are unbiased.
        fitness_shaping: what stands in the place of L+ - L-: "none", itself; "sign", its sign;
            "centred_ranks", its rank among +-(L+ - L-) of all pairs, from -1/2 to 1/2 (differences
            and not losses are ranked, because pairs stand at different inner steps). The latter two
            are robust against outliers, lose the gradient's scale and are biased.
        telescoped: for losses that are differences of one quantity, T (L_t - L_{t-1}), of which the
            last value is the objective. A truncation contributes the difference of products
            xi_t D_t - xi_{t-1} D_{t-1} instead of xi_t (D_t - D_{t-1}), where D_t sums the L+ - L-
            of its episode up to the truncation. Over an episode they add up to xi_T D_T: no noise
            of earlier losses, but for every step's influence that of later eps. So it has the
            smaller variance where losses forget what theta did to them early, and up to twice the
            variance where they remember. Unbiased either way; with NRES, whose xi is constant, both
            are the same.
        staggered: whether the particles' clocks are spread over the episode from the start. If
            not, they all begin at t = 0, and a single meta-step sees one part of the episode only.
    """

    unbiased: ClassVar[bool]
    """Whether the expectation of one estimate is exactly the gradient of the smoothed J.

    A class says it for its defaults, an instance for its own options.
    """
    summed_metrics: ClassVar[tuple[str, ...]] = ("diverged", "inner_steps")
    """Metrics that add up over systems; the others are averaged with the systems' weights."""

    horizon: Any
    truncation_length: int | None = None
    mean_over: str = dataclasses.field(default="steps", kw_only=True)

    @property
    def episodes(self) -> Horizon:
        """The distribution of T."""
        return make_horizon(self.horizon)

    @property
    def steps_per_truncation(self) -> int:
        """K, resolved."""
        return self.truncation_length or self.episodes.max

    @property
    @abc.abstractmethod
    def num_groups(self) -> int:
        """Number of antithetic pairs or lone particles, which may run on different devices.

        ``estimate`` meets those of one device alone and must reduce over all of them with
        ``meta_train.parallel.sum_over_devices``.
        """

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
