"""Whether a learned optimizer is better than the best baseline: one rule for all who say so.

The measure is the mean training loss. A difference of at most two of its standard errors is no
clear one, nor is one whose standard error is not known; the error is that of independent seeds, so
that shared ones are on the safe side. An optimizer that diverged is worse than one that did not.
"""

import dataclasses
import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from meta_train.evaluation.workload import Setting

LOWER, HIGHER, UNCLEAR, UNKNOWN = "lower", "higher", "unclear", "unknown"
_CLEAR = 2.0
"""Standard errors."""


class Loss(NamedTuple):
    """Mean training loss of one optimizer on one task."""

    optimizer: str
    mean: float
    """The mean over seeds; not finite where the optimizer diverged or was not measured."""
    std_error: float
    """The standard error over seeds; NaN where it is not known."""

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
    """The best baseline; None where none has a finite loss."""
    outcome: str
    """Whether the learned optimizer's loss is ``LOWER``, ``HIGHER`` or ``UNCLEAR``; ``UNKNOWN``
    where neither has one, or there is no baseline."""

    @property
    def ratio(self) -> float:
        """The learned optimizer's loss in units of the best baseline's; NaN where undefined."""
        if self.best is None or not self.best.mean > 0 or self.learned.diverged:
            return math.nan
        return self.learned.mean / self.best.mean

    def __str__(self) -> str:
        """For a terminal: "digits: learned 0.0296, 5.9 % below the 0.0314 of adam"."""
        return f"{self.task}: {self.learned.optimizer} {_words(self)}"


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


@dataclasses.dataclass(frozen=True)
class Verdict:
    """How one learned optimizer fared against the best baseline, by mean training loss.

    Attributes:
        optimizer: the name of the learned optimizer.
        duels: the duel on every setting, in the order of the suite.
        remarks: words for every setting that follow the duel's in a line of text.
    """

    optimizer: str
    duels: Mapping[Setting, Duel]
    remarks: Mapping[Setting, str] = dataclasses.field(default_factory=dict)

    def of(self, settings: Sequence[Setting]) -> list[Duel]:
        """The duels of some settings."""
        return [self.duels[x] for x in settings]

    @property
    def lines(self) -> list[str]:
        """A sentence for every setting."""
        return [f"{duel}{self.remarks.get(x, '')}" for x, duel in self.duels.items()]

    def __str__(self) -> str:
        return "\n".join(self.lines)


def remark(row: Mapping[str, Any]) -> str:
    """When it comes to the target, and how often it diverges, in words that follow a duel's."""
    words, goal = "", f"the final loss of {row.get('target_optimizer')}"
    if row.get("target") is not None and row.get("steps_to_target") is None:
        words = f"; never at {goal}"
    elif row.get("speedup") is not None and row.get("speedup_seconds") is not None:
        words = f"; at {goal} {row['speedup']:.2f} x as fast in steps"
        words += f", {row['speedup_seconds']:.2f} x in time"
    if row.get("diverged"):
        words += f"; {100 * row['diverged']:.0f} % of the runs diverged"
    return words


def tally(duels: Sequence[Duel]) -> str:
    """On how many tasks which is better: "lower ... on 2 of 5 tasks, higher on 3"."""
    counts = {name: sum(x.outcome == name for x in duels) for name in (LOWER, HIGHER, UNCLEAR)}
    words = (
        f"a lower mean training loss than the best tuned baseline on {counts[LOWER]} of "
        f"{len(duels)} task{'s' * (len(duels) != 1)}, a higher one on {counts[HIGHER]}"
    )
    return words + (f", no clear difference on {counts[UNCLEAR]}" if counts[UNCLEAR] else "")


def listed(duels: Sequence[Duel], outcome: str) -> str:
    """The tasks of one outcome, the worst first."""
    chosen = [x for x in duels if x.outcome == outcome]
    chosen.sort(key=lambda x: math.inf if math.isnan(x.ratio) else x.ratio, reverse=True)
    return "; ".join(f"{x.task} ({_words(x)})" for x in chosen)


def _words(duel: Duel) -> str:
    loss = "diverged" if duel.learned.diverged else f"{duel.learned.mean:.4g}"
    if duel.best is None:
        return f"{loss}; no baseline has a finite loss"
    return f"{loss}, {_apart(duel)} the {duel.best.mean:.4g} of {duel.best.optimizer}"


def _apart(duel: Duel) -> str:
    """How far the losses are apart."""
    if duel.outcome == UNCLEAR:
        return "no clear difference from"
    if duel.learned.diverged:
        return "against"
    side = "below" if duel.outcome == LOWER else "above"
    if math.isnan(duel.ratio):
        return side
    if duel.ratio >= 2:
        return f"{duel.ratio:.3g} times"
    return f"{100 * abs(duel.ratio - 1):.1f} % {side}"
