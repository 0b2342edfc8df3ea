"""Hyperparameters that make no sense are refused before anything is compiled."""

from collections.abc import Mapping
from typing import Any

from meta_train.estimators.pairs import PERTURBATIONS
from meta_train.estimators.reduction import FITNESS_SHAPINGS
from meta_train.horizons import ENDLESS

MEANS = ("steps", "episodes")


def check_sizes(estimator: Any, *, takes_zero_std: bool = False, endless: bool = True) -> None:
    """Check the fields that most estimators have.

    Args:
        estimator: with horizon, truncation_length, mean_over, num_pairs and std.
        takes_zero_std: whether sigma = 0 has a meaning; not where the gradient is seen through
            the losses of perturbed particles alone.
        endless: whether it works on episodes that never end.

    Raises:
        ValueError: it names the field, its value and the limits.
    """
    longest, length = estimator.episodes.max, estimator.truncation_length
    if longest == ENDLESS and not endless:
        raise ValueError(
            "horizon = None: episodes that never end cannot be unrolled as a whole; give T, or "
            "take an estimator that works by truncations, such as pes."
        )
    if longest == ENDLESS and length is None:
        raise ValueError(
            "truncation_length = None takes the longest T, but with horizon = None episodes never "
            "end; give K."
        )
    if length is not None and not 1 <= length <= longest:
        raise ValueError(
            f"truncation_length = {length} (K) must lie between 1 and the horizon T = {longest}, "
            "in inner steps."
        )
    if estimator.mean_over not in MEANS:
        raise ValueError(f"mean_over = {estimator.mean_over!r} must be one of {', '.join(MEANS)}.")
    if estimator.mean_over == "episodes" and longest == ENDLESS:
        raise ValueError('mean_over = "episodes" needs episodes that end; take "steps".')
    if estimator.num_pairs < 1:
        raise ValueError(
            f"num_pairs = {estimator.num_pairs} must be at least 1 (2 * num_pairs particles)."
        )
    _check_options(estimator)
    num_particles = getattr(estimator, "num_particles", None)
    if num_particles is not None and num_particles < 1:
        raise ValueError(f"num_particles = {num_particles} must be at least 1, or None.")
    if isinstance(estimator.std, Mapping):
        # An estimator is hashable.
        object.__setattr__(estimator, "std", tuple(sorted(estimator.std.items())))
    given: Any = estimator.std
    stds: dict[str, float] = dict(given) if isinstance(given, tuple) else {"": given}
    for group, std in stds.items():
        if not 0 <= std < float("inf") or (max(stds.values()) == 0 and not takes_zero_std):
            bound = "at least 0" if takes_zero_std or group else "above 0"
            raise ValueError(
                f"std = {std}{group and f' of {group}'} must be a finite number {bound}: it is the "
                "standard deviation of the perturbations, in units of theta."
            )


def _check_options(estimator: Any) -> None:
    """Those of estimators that work by antithetic pairs."""
    shapings = ("none", *FITNESS_SHAPINGS)
    for field, known in {"perturbation": PERTURBATIONS, "fitness_shaping": shapings}.items():
        value = getattr(estimator, field, None)
        if value is not None and value not in known:
            raise ValueError(f"{field} = {value!r} must be one of {', '.join(known)}.")
    if getattr(estimator, "fitness_shaping", "none") != "none":
        if getattr(estimator, "telescoped", False):
            raise ValueError(
                f"fitness_shaping = {estimator.fitness_shaping!r} leaves nothing of losses that "
                'could be telescoped; take "none", or telescoped = False.'
            )
        # The claim of the class holds for its defaults.
        object.__setattr__(estimator, "unbiased", False)
