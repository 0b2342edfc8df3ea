"""What ``meta_train.evaluation.verdict`` has decided, in words for terminals and pages."""

import math
from collections.abc import Sequence

from meta_train.evaluation.verdict import HIGHER, LOWER, UNCLEAR, Duel


def line(duel: Duel) -> str:
    """For a terminal: "digits: learned 0.0296, 5.9 % below the 0.0314 of adam"."""
    return f"{duel.task}: {duel.learned.optimizer} {_words(duel)}"


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
