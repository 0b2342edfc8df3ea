"""A learned optimizer against the best of the tuned ones, in numbers and in words.

The measure is the mean training loss. A difference below twice its standard error counts as no
clear difference; the error is that of independent seeds, so that shared ones are on the safe side.
"""

import math
from collections.abc import Sequence
from typing import NamedTuple

LOWER, HIGHER, UNCLEAR, UNKNOWN = "lower", "higher", "unclear", "unknown"
_CLEAR = 2.0


class Loss(NamedTuple):
    """Mean training loss of one optimizer on one task."""

    optimizer: str
    mean: float
    """NaN where it diverged or was not measured."""
    std_error: float


class Duel(NamedTuple):
    """A learned optimizer and the best baseline on one task."""

    task: str
    learned: Loss
    best: Loss | None
    """None where no baseline has a finite loss."""

    @property
    def outcome(self) -> str:
        """Whether the learned optimizer's loss is ``LOWER`` or ``HIGHER``; diverged is higher."""
        if self.best is None:
            return UNKNOWN if math.isnan(self.learned.mean) else LOWER
        if math.isnan(self.learned.mean):
            return HIGHER
        difference = self.learned.mean - self.best.mean
        errors = [x.std_error for x in (self.learned, self.best) if math.isfinite(x.std_error)]
        if abs(difference) <= _CLEAR * math.hypot(*errors):
            return UNCLEAR
        return LOWER if difference < 0 else HIGHER

    @property
    def ratio(self) -> float:
        """The learned optimizer's loss in units of the best baseline's; NaN where undefined."""
        if self.best is None or not self.best.mean > 0:
            return math.nan
        return self.learned.mean / self.best.mean

    @property
    def words(self) -> str:
        """The task and how far apart the two are."""
        if self.best is None:
            return f"{self.task} (no baseline has a finite loss)"
        if math.isnan(self.learned.mean):
            return f"{self.task} (diverged; {self.best.optimizer} has {self.best.mean:.3g})"
        apart = f"{_apart(self.ratio)} the {self.best.mean:.3g} of {self.best.optimizer}"
        return f"{self.task} ({self.learned.mean:.3g}, {apart})"


def duel(task: str, learned: Loss, baselines: Sequence[Loss]) -> Duel:
    """Choose the baseline with the lowest loss on the task."""
    finite = [x for x in baselines if math.isfinite(x.mean)]
    return Duel(task, learned, min(finite, key=lambda x: x.mean) if finite else None)


def tally(duels: Sequence[Duel]) -> str:
    """On how many tasks which is better: "lower ... on 2 of 5 tasks, higher on 3"."""
    counts = {name: sum(x.outcome == name for x in duels) for name in (LOWER, HIGHER, UNCLEAR)}
    words = (
        f"a lower mean training loss than the best tuned baseline on {counts[LOWER]} of "
        f"{_count(len(duels), 'task')}, a higher one on {counts[HIGHER]}"
    )
    return words + (f", no clear difference on {counts[UNCLEAR]}" if counts[UNCLEAR] else "")


def listed(duels: Sequence[Duel], outcome: str) -> str:
    """The tasks of one outcome, the worst first."""
    chosen = [x for x in duels if x.outcome == outcome]
    chosen.sort(key=lambda x: math.inf if math.isnan(x.ratio) else x.ratio, reverse=True)
    return "; ".join(x.words for x in chosen)


def _apart(ratio: float) -> str:
    if math.isnan(ratio):
        return "against"
    if ratio >= 2:
        return f"{ratio:.3g} times"
    change = 100 * (ratio - 1)
    return f"{abs(change):.1f} % {'below' if change < 0 else 'above'}"


def _count(count: int, noun: str) -> str:
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"
