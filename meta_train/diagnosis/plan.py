"""What a diagnosis measures: the settings of each estimator, and how much of each."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import flax.struct
import jax
import jax.numpy as jnp
from etils import epath
from jaxtyping import Array, Float, Int

from meta_train.estimators.es import ES
from meta_train.groups import Std
from meta_train.horizons import ENDLESS, ConstantHorizon, Horizon
from meta_train.parallel import ONE_DEVICE, Devices
from meta_train.particles import Execution
from meta_train.types import GradientEstimator, State, Theta, UnrolledSystem

REFERENCE = "reference"
"""Name of full ES, the estimator that all others are compared with."""


class Setting(NamedTuple):
    """An estimator with what is varied of it, besides the number of pairs."""

    name: str
    """Of the estimator."""
    truncation_length: int
    """K, inner steps."""
    std_factor: float = 1.0
    """Multiple of the estimator's own sigma."""

    def __str__(self) -> str:
        return f"{self.name}, K = {self.truncation_length}, std x {self.std_factor:g}"


@dataclasses.dataclass(frozen=True)
class Plan:
    """How much a diagnosis measures.

    Attributes:
        truncation_lengths: K of every estimator that works by truncations, besides its own; None
            takes about a quarter of it and four times.
        num_pairs: numbers of antithetic pairs whose time is taken, besides the first estimator's
            own; None takes four times that.
        std_factors: multiples of each estimator's sigma, besides 1.
        seconds: of measuring, compilation included. Settings that there is no time for are left
            out, and named; the first estimator's own and the reference always get their least.
        most_runs: of one setting; a run is one antithetic pair of each device over one episode.
        runs_at_once: runs between two looks at the time, at least 3.
        grid: points along each direction of the drawn meta-loss; 0 draws none.
        reach: half of what is drawn, in multiples of the norm of sigma.
        path_steps: meta-steps of the drawn paths, during which num_pairs are timed.
        seed: every random number follows from it.
        devices: over which particles are split.
        execution: how particles are mapped.
        folder: where measurements are kept, so that the same call resumes where it was stopped.

    Raises:
        ValueError: a number is out of range.
    """

    truncation_lengths: Sequence[int] | None = None
    num_pairs: Sequence[int] | None = None
    std_factors: Sequence[float] = (0.3, 3.0)
    seconds: float = 210.0
    most_runs: int = 512
    runs_at_once: int = 4
    grid: int = 9
    reach: float = 2.0
    path_steps: int = 20
    seed: int = 0
    devices: Devices = ONE_DEVICE
    execution: Execution = dataclasses.field(default_factory=Execution)
    folder: epath.PathLike | None = None

    def __post_init__(self) -> None:
        if self.runs_at_once < 3 or self.most_runs < 2 * self.runs_at_once:
            raise ValueError(
                f"runs_at_once = {self.runs_at_once} must be at least 3, and most_runs = "
                f"{self.most_runs} at least twice that."
            )
        if self.path_steps < 3:
            raise ValueError(f"path_steps = {self.path_steps} must be at least 3.")
        for name, least in (("seconds", 0), ("reach", 0)):
            if not getattr(self, name) > least:
                raise ValueError(f"{name} = {getattr(self, name)} must be above {least}.")
        for name in ("truncation_lengths", "num_pairs"):
            for value in getattr(self, name) or ():
                if isinstance(value, bool) or not isinstance(value, int) or value < 1:
                    raise ValueError(f"{name} holds {value!r}; give whole numbers, at least 1.")
        for value in self.std_factors:
            if not 0 < value < float("inf"):
                raise ValueError(f"std_factors holds {value}; give finite numbers above 0.")


@flax.struct.dataclass
class Scaled(UnrolledSystem):
    """A system whose theta is ``theta + factor * u``; u takes theta's place.

    At u = 0, an estimator with sigma sees what it would see of ``system`` with factor * sigma, and
    its gradient is larger by the factor. So all factors share one compiled program.
    """

    system: Any
    theta: Any
    factor: Any

    def init(self, key: jax.Array, theta: Theta, horizon: Int[Array, ""]) -> State:
        return self.system.init(key, self._at(theta), horizon)

    def step(self, key: jax.Array, theta: Theta, state: State) -> tuple[State, Float[Array, ""]]:
        return self.system.step(key, self._at(theta), state)

    def _at(self, u: Theta) -> Theta:
        return jax.tree.map(lambda theta, u: theta + self.factor * u, self.theta, u)


def fixed(estimators: Mapping[str, GradientEstimator]) -> dict[str, GradientEstimator]:
    """Check the estimators and add the reference, first of all.

    A T that is scheduled over meta-steps is taken at the first.

    Raises:
        ValueError: there is none, or they have different or endless horizons, or one has the
            reference's name, or the first no sigma.
    """
    if not estimators or REFERENCE in estimators:
        raise ValueError(f"give at least one estimator, and none of the name {REFERENCE!r}.")
    first = next(iter(estimators.values()))
    episodes = first.episodes
    if episodes.max == ENDLESS:
        raise ValueError(
            "horizon = None: a diagnosis compares gradients of whole episodes, but these never "
            "end; give T."
        )
    for name, estimator in estimators.items():
        if (estimator.episodes, estimator.mean_over) != (episodes, first.mean_over):
            raise ValueError(f"{name} must have the horizon and mean_over of the first estimator.")
    if not _has_sigma(first):
        raise ValueError(
            f"std = {getattr(first, 'std', None)} of the first estimator: it says how much the "
            "meta-loss is smoothed, for all to be compared; give a number above 0."
        )
    reference = ES(episodes, std=own_std(first), mean_over=first.mean_over)
    return {REFERENCE: reference, **estimators}


def settings(estimators: Mapping[str, GradientEstimator], plan: Plan) -> list[Setting]:
    """All settings, in the order of their importance: each estimator's own first.

    Args:
        estimators: see ``fixed``.
        plan: what is varied.

    Raises:
        ValueError: a K is longer than T, or does not fit an estimator.
    """
    found: list[Setting] = []
    for name, estimator in estimators.items():
        lengths = [estimator.steps_per_truncation]
        if by_truncation(estimator):
            given = plan.truncation_lengths
            lengths += _around(lengths[0], estimator.episodes) if given is None else given
        for length in dict.fromkeys(lengths):
            try:
                dataclasses.replace(estimator, truncation_length=length)
            except ValueError as error:
                raise ValueError(f"{name}: {error}") from error
        factors = dict.fromkeys((1.0, *plan.std_factors)) if _has_sigma(estimator) else (1.0,)
        found += [Setting(name, k, f) for f in factors for k in dict.fromkeys(lengths)]
    own = {name: estimator.steps_per_truncation for name, estimator in estimators.items()}
    return sorted(
        found, key=lambda x: (x.std_factor != 1.0) + 2 * (x.truncation_length != own[x.name])
    )


def by_truncation(estimator: GradientEstimator) -> bool:
    """Whether it estimates from truncations; else from whole episodes, whatever K is."""
    return hasattr(estimator, "staggered")


def truncations(estimator: GradientEstimator) -> float:
    """E[ceil(T / K)], meta-steps of an episode."""
    if not by_truncation(estimator):
        return 1.0
    return float(estimator.episodes.mean_truncations(estimator.steps_per_truncation, _FIRST))


def with_pairs(estimator: GradientEstimator, setting: Setting, num_pairs: int) -> GradientEstimator:
    """The estimator as a setting has it, at the sigma that is the estimator's own.

    With T constant every run begins at t = 0, so that it is one whole episode of each particle.
    """
    fields: dict[str, Any] = {"truncation_length": setting.truncation_length}
    names = {field.name for field in dataclasses.fields(estimator)}
    fields |= {"num_pairs": num_pairs} if "num_pairs" in names else {}
    fields |= {"num_particles": None} if "num_particles" in names else {}
    if by_truncation(estimator) and isinstance(estimator.episodes, ConstantHorizon):
        fields["staggered"] = False
    return dataclasses.replace(estimator, **fields)


def in_training(
    estimator: GradientEstimator, setting: Setting, num_pairs: int
) -> GradientEstimator:
    """The estimator as meta-training would have it, sigma and staggered clocks included."""
    fields: dict[str, Any] = {"truncation_length": setting.truncation_length}
    if hasattr(estimator, "num_pairs"):
        fields["num_pairs"] = num_pairs
    if _has_sigma(estimator) and setting.std_factor != 1.0:
        fields["std"] = std_of(estimator, setting.std_factor)
    return dataclasses.replace(estimator, **fields)


def std_of(estimator: GradientEstimator, factor: float) -> float | dict[str, float]:
    """A multiple of an estimator's sigma, with few digits."""
    std = own_std(estimator)
    if isinstance(std, float | int):
        return float(f"{factor * std:.3g}")
    return {group: float(f"{factor * value:.3g}") for group, value in dict(std).items()}


def own_std(estimator: GradientEstimator) -> Std:
    """An estimator's own sigma; 0 for one without."""
    return getattr(estimator, "std", 0.0)


def _has_sigma(estimator: GradientEstimator) -> bool:
    std = own_std(estimator)
    return (std if isinstance(std, float | int) else max(dict(std).values())) > 0


def _around(length: int, episodes: Horizon) -> list[int]:
    """About a quarter of K and four times; where T is constant divisors of it, which waste none."""
    longest = episodes.max
    choices = range(1, longest + 1)
    if isinstance(episodes, ConstantHorizon):
        choices = [k for k in choices if longest % k == 0]
    return [
        min(choices, key=lambda k, wanted=wanted: max(k / wanted, wanted / k))
        for wanted in (length / 4, length * 4)
    ]


_FIRST = jnp.int32(0)
