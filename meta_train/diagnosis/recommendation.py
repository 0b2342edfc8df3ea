"""From rows and times to the setting that is recommended, with its reasons."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from meta_train.diagnosis import rows
from meta_train.diagnosis.plan import Setting, std_of
from meta_train.diagnosis.rows import Row
from meta_train.diagnosis.statistics import Value
from meta_train.types import GradientEstimator

NEARLY = 0.9
"""Of the highest signal-to-noise ratio per second, what a number of pairs must reach."""


class Pairs(NamedTuple):
    """A setting with a number of antithetic pairs, as in training."""

    setting: Setting
    num_pairs: int
    seconds: Value
    """Of one meta-step."""
    snr_per_meta_step: Value
    snr_per_second: Value

    def plain(self) -> dict[str, Any]:
        """Numbers by name."""
        return {
            "estimator": self.setting.name,
            "truncation_length": self.setting.truncation_length,
            "std_factor": self.setting.std_factor,
            "num_pairs": self.num_pairs,
            "seconds": self.seconds.value,
            "seconds_error": self.seconds.error,
            **_plain("snr_per_meta_step", self.snr_per_meta_step),
            **_plain("snr_per_second", self.snr_per_second),
        }


class Recommendation(NamedTuple):
    """What to set, and why."""

    estimator: str
    truncation_length: int
    num_pairs: int
    std: float | dict[str, float]
    changes: bool
    """Whether it differs from the first estimator's own setting."""
    gain: Value
    """Of the signal-to-noise ratio per second over the own setting's, from runs of their own that
    the choice did not depend on."""
    reasons: tuple[str, ...]

    def plain(self) -> dict[str, Any]:
        """It by name."""
        found = self._asdict() | {"reasons": list(self.reasons)}
        return {name: x for name, x in found.items() if name != "gain"} | _plain("gain", self.gain)


def with_pairs(row: Row, num_pairs: int, seconds: Value) -> Pairs:
    """A setting with so many pairs, whose meta-step takes so long."""
    episode = seconds.scaled(row.truncations)
    return Pairs(
        row.setting, num_pairs, seconds, row.snr_per_meta_step.scaled(num_pairs),
        row.snr.scaled(num_pairs).over(episode),
    )  # fmt: skip


def recommend(
    estimators: Mapping[str, GradientEstimator],
    pairs: Sequence[Pairs],
    fresh: Mapping[Setting, Row],
    table: Sequence[Row],
) -> tuple[Recommendation, list[tuple[Setting, int]]]:
    """The better of two settings, with a number of pairs.

    Args:
        estimators: by name.
        pairs: what was timed: the first estimator's own setting, then what the search found, with
            several numbers of pairs.
        fresh: rows of the two, measured beside each other; one where they are the same.
        table: all rows, for the reasons.

    Returns:
        The recommendation, and the two settings and numbers of pairs that it is between.
    """
    own, setting = pairs[0], list(fresh)[-1]
    timed = {x.num_pairs: x for x in pairs if x.setting == setting}
    best = timed[_choose_pairs({n: x.seconds for n, x in timed.items()}, own.num_pairs)]
    gain = Value(1.0, 0.0)
    if best != own:
        # In both ratios per second the same signal and the same variance play no role.
        first, second = fresh[own.setting], fresh[setting]
        per_pair = best.seconds.scaled(second.truncations / best.num_pairs)
        per_own_pair = own.seconds.scaled(first.truncations / own.num_pairs)
        gain = _gain_at_equal_steps(first, second).times(per_own_pair.over(per_pair))
    changes = gain.value - 2 * gain.error > 1
    chosen = best if changes else own
    rates = {n: Value(n, 0.0).over(x.seconds) for n, x in timed.items()}
    reasons = _words(own, best, gain, table, rates) if changes else _words_of_none(own, best, gain)
    row = fresh[chosen.setting]
    if not row.unbiased:
        reasons.append(
            f"{chosen.setting.name} is biased: its mean has {row.share} of the gradient, and more "
            "inner steps do not change that."
        )
    found = Recommendation(
        chosen.setting.name, chosen.setting.truncation_length, chosen.num_pairs,
        std_of(estimators[chosen.setting.name], chosen.setting.std_factor), changes, gain,
        tuple(reasons),
    )  # fmt: skip
    return found, [(x.setting, x.num_pairs) for x in dict.fromkeys((own, best))]


def _choose_pairs(timed: Mapping[int, Value], own: int) -> int:
    """The own number of pairs if it is nearly as good as any, else the fewest that are.

    More pairs in a meta-step, with fewer meta-steps in a second, leave the signal-to-noise ratio
    per second as it is, but for what a meta-step costs whatever its pairs.
    """
    rates = {pairs: pairs / seconds.value for pairs, seconds in timed.items()}
    good = [pairs for pairs, rate in rates.items() if rate >= NEARLY * max(rates.values())]
    return own if own in good else min(good)


def _gain_at_equal_steps(own: Row, best: Row) -> Value:
    """Of the signal-to-noise ratio of a pair's episode, whatever its time."""
    if own.setting == best.setting:
        return Value(1.0, 0.0)
    gain = own.variance.over(best.variance)
    same = own.setting.std_factor == best.setting.std_factor
    if same and own.unbiased and best.unbiased:
        return gain
    return gain.times(best.signal.over(own.signal))


def _words(
    own: Pairs, best: Pairs, gain: Value, table: Sequence[Row], rates: Mapping[int, Value]
) -> list[str]:
    """One sentence for the whole, and one for each part that changes or stays."""
    found = [
        f"{best.setting}, {best.num_pairs} pairs has {gain} times the signal-to-noise ratio per "
        f"second of {own.setting}, {own.num_pairs} pairs, measured beside each other with fresh "
        "runs."
    ]
    by_setting = {row.setting: row for row in table}
    row = by_setting[best.setting]
    for field, title in (
        ("name", "estimator"),
        ("truncation_length", "truncation_length"),
        ("std_factor", "std"),
    ):
        value, other = getattr(best.setting, field), getattr(own.setting, field)
        kept = by_setting.get(best.setting._replace(**{field: other}))
        if value == other:
            found.append(f"{title} stays: {_rivals(row, table, field)}")
        elif kept is None:
            found.append(f"{title}: {value} instead of {other}.")
        else:
            gained = rows.ratio(row, kept)
            share = f"; {other} is biased by {kept.bias} of the gradient" if kept.is_biased else ""
            found.append(
                f"{title}: {value} instead of {other} alone has {gained} times the ratio per "
                f"second; variance {row.variance} against {kept.variance}{share}."
            )
    told = ", ".join(f"{rate} with {n}" for n, rate in sorted(rates.items()))
    found.append(
        f"num_pairs: truncations of a pair per second are {told}; {best.num_pairs} is "
        f"{'kept, being' if best.num_pairs == own.num_pairs else 'the fewest'} within "
        f"{100 * (1 - NEARLY):.0f} % of the best."
    )
    return found


def _rivals(row: Row, table: Sequence[Row], field: str) -> str:
    """Why the other values of one part were not taken."""
    found = []
    for other in table:
        value = getattr(other.setting, field)
        alike = other.setting._replace(**{field: getattr(row.setting, field)}) == row.setting
        if not alike or other.setting == row.setting or other.setting.name == "reference":
            continue
        if other.is_biased:
            words = f"biased by {other.bias}"
        elif not other.unbiased:
            words = "biased by what it leaves out"
        else:
            words = f"{rows.ratio(other, row)} times the ratio per second"
        found.append(f"{value} has {words}" if "times" in words else f"{value} is {words}")
    return "; ".join(found) + "." if found else "nothing else was measured."


def _words_of_none(own: Pairs, best: Pairs, gain: Value) -> list[str]:
    stays = f"The setting of the config, {own.setting}, {own.num_pairs} pairs, stays"
    if own[:2] == best[:2]:
        return [f"{stays}: no other that was measured is better beyond the errors."]
    return [
        f"{stays}: the best other one, {best.setting}, {best.num_pairs} pairs, has {gain} times "
        "its signal-to-noise ratio per second, which is not more by two standard errors."
    ]


def _plain(name: str, number: Value) -> dict[str, float | None]:
    return {name: rows.finite(number.value), f"{name}_error": rows.finite(number.error)}
