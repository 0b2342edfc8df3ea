"""Whether a learned optimizer is better than the best baseline: one rule for all who say so.

The measure is the mean training loss. A difference of at most two of its standard errors is no
clear one, nor is one whose standard error is not known; the error is that of independent seeds, so
that shared ones are on the safe side. An optimizer that diverged is worse than one that did not.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

LOWER, HIGHER, UNCLEAR, UNKNOWN = "lower", "higher", "unclear", "unknown"
_CLEAR = 2.0
"""Standard errors."""


class Loss(NamedTuple):
    """Mean training loss of one optimizer on one task."""

    optimizer: str
    mean: float
    """Not finite where it diverged or was not measured."""
    std_error: float
    """Over seeds; NaN where it is not known."""

    @classmethod
    def of(cls, row: Mapping[str, Any]) -> "Loss":
        """From ``optimizer``, ``mean_loss`` and ``std_error``, None for what is not finite.

        In the six digits that files keep, so that it is decided alike before and after.
        """
        mean, error = (
            math.nan if row[name] is None else float(f"{row[name]:.6g}")
            for name in ("mean_loss", "std_error")
        )
        return cls(row["optimizer"], mean, error)

    @property
    def diverged(self) -> bool:
        return not math.isfinite(self.mean)


class Duel(NamedTuple):
    """A learned optimizer and the best baseline on one task."""

    task: str
    learned: Loss
    best: Loss | None
    """None where no baseline has a finite loss."""
    outcome: str
    """Whether the learned optimizer's loss is ``LOWER``, ``HIGHER`` or ``UNCLEAR``; ``UNKNOWN``
    where neither has one, or there is no baseline."""

    @property
    def ratio(self) -> float:
        """The learned optimizer's loss in units of the best baseline's; NaN where undefined."""
        if self.best is None or not self.best.mean > 0 or self.learned.diverged:
            return math.nan
        return self.learned.mean / self.best.mean


def duel(task: str, learned: Loss, baselines: Sequence[Loss]) -> Duel:
    """Choose the baseline with the lowest loss on the task, and decide."""
    best = min((x for x in baselines if not x.diverged), key=lambda x: x.mean, default=None)
    return Duel(task, learned, best, _outcome(learned, best) if baselines else UNKNOWN)


def _outcome(learned: Loss, best: Loss | None) -> str:
    if learned.diverged:
        return HIGHER if best else UNKNOWN
    if best is None:
        return LOWER
    difference = learned.mean - best.mean
    if not abs(difference) > _CLEAR * math.hypot(learned.std_error, best.std_error):
        return UNCLEAR
    return LOWER if difference < 0 else HIGHER
