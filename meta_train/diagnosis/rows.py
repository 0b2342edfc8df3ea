"""What the samples say of every setting: bias, variance, signal-to-noise ratios and time."""

import math
from collections.abc import Iterable
from typing import Any, NamedTuple

from meta_train.diagnosis import statistics
from meta_train.diagnosis.plan import REFERENCE, Setting
from meta_train.diagnosis.samples import Samples
from meta_train.diagnosis.statistics import Value

MOST_BIAS = 0.2
"""Of the gradient's norm; a setting of which more is measured is not recommended."""
_NONE = Value(math.nan, math.nan)


class Row(NamedTuple):
    """One setting.

    All is of one antithetic pair: with num_pairs of them, the variance is smaller and the seconds
    of a meta-step are more. Over an episode at fixed theta, a pair gives one whole-episode
    gradient, whatever K is: ``variance`` is that gradient's, so settings are compared at equal
    inner steps. Ratios to ``variance`` add up over pairs and episodes.
    """

    setting: Setting
    unbiased: bool
    """What the estimator claims."""
    runs: int
    variance: Value
    """Trace of the covariance matrix of a pair's mean estimate over an episode."""
    share: Value
    """Of the reference's gradient in the mean estimate: scalar product over squared norm. 1 is no
    bias along the gradient. NaN for the reference itself."""
    distance: Value
    """Squared norm of the bias, over the squared norm of the reference's gradient."""
    own_signal: Value
    """Squared norm of the expectation, from this setting's runs alone."""
    signal: Value
    """Squared norm of the useful part of the expectation. Unbiased: that of full ES with the same
    sigma, which many runs tell better than these. Else: of the part along the reference."""
    snr: Value
    """``signal / variance``, of one pair's whole episode."""
    snr_per_meta_step: Value
    """Of the single estimate, whose particles are at one truncation of their episode."""
    snr_per_inner_step: Value
    snr_per_second: Value
    seconds: Value
    """Of one meta-step of one pair, when all devices are at work on others."""
    inner_steps: float
    """Of one meta-step of one pair."""
    truncations: float
    """Meta-steps of an episode."""
    diverged: int
    """Particles that were dropped."""

    @property
    def is_biased(self) -> bool:
        """Whether more bias is measured than a recommended setting may have."""
        least = max(self.distance.value - 2 * self.distance.error, 0.0)
        off = abs(self.share.value - 1) - 2 * self.share.error
        return math.sqrt(least) > MOST_BIAS or off > MOST_BIAS

    @property
    def bias(self) -> str:
        """The norm of the bias over that of the gradient, or why it is not known."""
        if self.setting.name == REFERENCE and self.setting.std_factor == 1.0:
            return "reference"
        if not math.isfinite(self.distance.value):
            return "not measurable"
        if self.distance.resolved:
            return f"{math.sqrt(self.distance.value):.2g}"
        return f"< {self.bias_limit:.2g}"

    @property
    def bias_limit(self) -> float:
        """The largest bias that the noise could hide, over the norm of the gradient."""
        return math.sqrt(max(self.distance.value, 0.0) + 2 * self.distance.error)

    @property
    def bias_words(self) -> str:
        """Whether the bias could be measured."""
        if self.bias in ("reference", "not measurable"):
            return {
                "reference": "what the others are compared with",
                "not measurable": "not measurable: the reference's gradient does not stand out of "
                "its noise",
            }[self.bias]
        if self.distance.resolved:
            return "measured"
        return (
            f"not measurable: the noise of {self.runs} runs would hide up to "
            f"{self.bias_limit:.2g} of the gradient's norm"
        )

    def plain(self) -> dict[str, Any]:
        """Numbers and words by name, with the name of each standard error ending in _error."""
        numbers = {
            name: getattr(self, name)
            for name in ("variance", "share", "signal", "own_signal", "snr", "snr_per_meta_step",
                         "snr_per_inner_step", "snr_per_second", "seconds")
        }  # fmt: skip
        found: dict[str, Any] = {
            "estimator": self.setting.name,
            "truncation_length": self.setting.truncation_length,
            "std_factor": self.setting.std_factor,
            "claims_unbiased": self.unbiased,
            "runs": self.runs,
        }
        for name, number in numbers.items():
            found |= {name: finite(number.value), f"{name}_error": finite(number.error)}
        squared = self.distance.value
        bias = math.sqrt(squared) if self.distance.resolved else math.nan
        limit = math.nan if math.isnan(squared) or self.distance.resolved else self.bias_limit
        return found | {
            "bias": finite(bias),
            "bias_at_most": finite(limit),
            "bias_words": self.bias_words,
            "inner_steps": self.inner_steps,
            "truncations": self.truncations,
            "diverged": self.diverged,
        }


def of(samples: Samples, setting: Setting, fresh: bool = False) -> Row:
    """The row of a setting.

    Args:
        samples: what was measured; the reference is among it.
        setting: the setting.
        fresh: of the runs that its choice does not depend on.
    """
    found = samples.of(setting, fresh)
    x, reference = found.means, samples.of(samples.reference).means
    truncations = samples.truncations(setting)
    # A run may be several episodes of the pairs of several devices.
    episodes = samples.meta_steps(setting) / truncations * samples.plan.devices.count
    variance = statistics.variance(x).scaled(episodes)
    norm = statistics.squared_norm(reference)
    share, distance = _NONE, _NONE
    if setting != samples.reference and norm.resolved:
        share = statistics.projection(x, reference).over(norm)
        distance = statistics.squared_distance(x, reference).over(norm)
    own = statistics.squared_norm(x)
    unbiased = samples.estimators[setting.name].unbiased
    signal = _signal(samples, setting, own) if unbiased else _along(share, norm)
    squared = statistics.mean(found.squared_norms)
    devices = samples.plan.devices.count
    # One meta-step of one pair: E|g|^2 is that of the mean over devices, of which |E g|^2 is one.
    scatter = Value(max(squared.value - signal.value, 0.0) * devices, squared.error * devices)
    seconds = statistics.median(found.seconds)
    snr = signal.over(variance)
    return Row(
        setting, unbiased, len(x), variance, share, distance, own, signal, snr,
        signal.over(scatter), snr.scaled(1 / (found.inner_steps * truncations)),
        snr.over(seconds.scaled(truncations)), seconds, found.inner_steps, truncations,
        found.diverged,
    )  # fmt: skip


def of_all(samples: Samples, settings: Iterable[Setting]) -> list[Row]:
    """The rows of the settings that are measured."""
    return [of(samples, x) for x in settings if samples.count(x) >= 2 * samples.plan.runs_at_once]


def ratio(row: Row, other: Row) -> Value:
    """Of their signal-to-noise ratios per second; what is the same for both plays no role."""
    cost = row.variance.times(row.seconds.scaled(row.truncations))
    gain = other.variance.times(other.seconds.scaled(other.truncations)).over(cost)
    same = row.setting.std_factor == other.setting.std_factor
    if row.unbiased and other.unbiased and same:
        return gain
    return gain.times(row.signal.over(other.signal))


def _signal(samples: Samples, setting: Setting, own: Value) -> Value:
    """Squared norm of the gradient of the meta-loss smoothed with the setting's sigma."""
    same = samples.reference._replace(std_factor=setting.std_factor)
    if samples.estimators[setting.name] is samples.estimators[REFERENCE]:
        return own
    if samples.count(same) < 2 * samples.plan.runs_at_once:
        return statistics.squared_norm(samples.of(samples.reference).means)
    return statistics.squared_norm(samples.of(same).means)


def _along(share: Value, norm: Value) -> Value:
    """Squared norm of the part of an expectation along the reference's gradient."""
    squared = share.value**2 - share.error**2
    return Value(squared, 2 * abs(share.value) * share.error).times(norm)


def finite(x: float) -> float | None:
    """The number, or None where it is not finite."""
    return x if math.isfinite(x) else None
