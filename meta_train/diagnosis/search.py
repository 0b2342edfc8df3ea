"""In which order settings are measured: all a little, the promising ones more.

Successive halving: after a first look at every setting, rounds of as much time as is left measure
the better half again and again. What is recommended in the end is measured afresh, beside the
first estimator's own setting and by turns with it, so that its choice does not flatter it.
"""

import math
from collections.abc import Callable, Sequence

from meta_train.diagnosis import rows
from meta_train.diagnosis.plan import REFERENCE, Setting
from meta_train.diagnosis.rows import Row
from meta_train.diagnosis.samples import Samples

Report = Callable[[str, float], None]
"""Told what was done, and how many seconds are left at most."""

_SEARCH, _FRESH = 0.5, 0.75
"""Shares of the time after which the search ends, and the fresh comparison."""
_FEWEST = 3
"""Settings that are measured to the end of the search."""


def search(samples: Samples, settings: Sequence[Setting], report: Report) -> Setting:
    """Measure the settings; returns the one to recommend, as far as the search can tell."""
    own = _own(settings)
    needed = [own, samples.reference]
    deadline = _SEARCH * samples.plan.seconds
    for setting in [*needed, *(x for x in settings if x not in needed)]:
        for _ in range(2):
            if setting in needed or samples.spent < deadline:
                _add(samples, setting, report)
    alive = [row.setting for row in _ranked(samples, settings)]
    while alive and samples.spent < deadline:
        alive = alive[: max(_FEWEST, len(alive) // 2)]
        kept = [x for x in dict.fromkeys([*needed, *_references(samples, alive), *alive])
                if samples.can_grow(x)]  # fmt: skip
        if not kept:
            break
        before = {x: samples.count(x) for x in kept}
        # Twice as many runs of each before the next look.
        for _ in range(max(before.values()) // samples.plan.runs_at_once):
            for setting in kept:
                if samples.can_grow(setting) and samples.spent < deadline:
                    _add(samples, setting, report)
        alive = [row.setting for row in _ranked(samples, alive)]
    return _choose(samples, settings, own)


def compare_afresh(samples: Samples, best: Setting, own: Setting, report: Report) -> None:
    """Measure both by turns, with runs of their own; and full ES where the sigmas differ."""
    compared = [own, best] if best != own else [own]
    if best.std_factor != own.std_factor:
        compared += _references(samples, compared)
    deadline = _FRESH * samples.plan.seconds
    first = True
    while first or (best != own and samples.spent < deadline):
        grown = [x for x in compared if samples.can_grow(x, fresh=True)]
        if not grown:
            break
        for setting in grown:
            for _ in range(2 if first else 1):
                _add(samples, setting, report, fresh=True)
        first = False


def _own(settings: Sequence[Setting]) -> Setting:
    return next(x for x in settings if x.name != REFERENCE)


def _references(samples: Samples, settings: Sequence[Setting]) -> list[Setting]:
    """Full ES with the sigmas of the settings."""
    factors = dict.fromkeys(x.std_factor for x in settings)
    return [samples.reference._replace(std_factor=factor) for factor in factors]


def _add(samples: Samples, setting: Setting, report: Report, fresh: bool = False) -> None:
    samples.add(setting, fresh)
    words = f"{setting}: {samples.count(setting, fresh)} runs"
    report(words + (" beside each other" if fresh else ""), samples.plan.seconds - samples.spent)


def _ranked(samples: Samples, settings: Sequence[Setting]) -> list[Row]:
    """Settings that may be recommended, by signal-to-noise ratio per second."""
    found = [
        row
        for row in rows.of_all(samples, settings)
        if row.setting.name != REFERENCE and row.unbiased and not row.is_biased
    ]
    return sorted(found, key=_rate, reverse=True)


def _rate(row: Row) -> float:
    """What ranks a setting; where no signal stands out, noise alone tells them apart."""
    rate = row.snr_per_second.value
    if math.isfinite(rate) and row.signal.resolved:
        return rate
    return -row.variance.value * row.seconds.value * row.truncations


def _choose(samples: Samples, settings: Sequence[Setting], own: Setting) -> Setting:
    """The setting that is most surely better than the own one; the own one if none is.

    Of it, as much is the own one's as leaves a setting that is surely better too, and not
    measurably worse than the one chosen first.
    """
    ranked = {row.setting: row for row in _ranked(samples, settings)}
    now = rows.of(samples, own)
    surely = {setting: _least_gain(row, now) for setting, row in ranked.items()}
    first = max(surely, key=lambda setting: surely[setting], default=own)
    if first == own or surely[first] <= 1:
        return own
    best = first
    for field in ("std_factor", "truncation_length", "name"):
        nearer = best._replace(**{field: getattr(own, field)})
        if surely.get(nearer, 0.0) > 1 and _least_gain(ranked[first], ranked[nearer]) <= 1:
            best = nearer
    return best


def _least_gain(row: Row, other: Row) -> float:
    """Of the signal-to-noise ratio per second: two standard errors below what is measured."""
    gain = rows.ratio(row, other)
    return gain.value - 2 * gain.error if math.isfinite(gain.value) else 0.0
