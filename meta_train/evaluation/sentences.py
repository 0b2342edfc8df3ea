"""An evaluation in sentences: how each learned optimizer fared, its losses by name."""

import math
from typing import Any

from meta_train.evaluation import verdict
from meta_train.evaluation.evaluation import Evaluation
from meta_train.evaluation.workload import Setting

ABSENT = "\N{EN DASH}"
"""What is shown where a number was not measured or is not finite."""


def form(value: Any, spec: str = ".4g") -> str:
    """A number in words; ``ABSENT`` for None, NaN, infinities and what is no number."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        return ABSENT
    return format(value, spec).replace("%", " %")


def held_out(evaluation: Evaluation) -> list[Setting]:
    """The tasks themselves, as far as they are held out."""
    return [x for x in evaluation.settings if x.held_out and not x.axis]


def changed(evaluation: Evaluation) -> list[Setting]:
    """Changes of tasks."""
    return [x for x in evaluation.settings if x.axis]


def reference(evaluation: Evaluation) -> str:
    """The baselines that targets and ratios are taken from."""
    names = evaluation.summary.get("reference")
    return " or ".join(map(str, names)) if isinstance(names, list) and names else "the reference"


def sentences(evaluation: Evaluation, learned: str) -> list[str]:
    """What is to be known first about a learned optimizer, its defeats included."""
    duels = evaluation.verdict(learned)
    first, after = duels.of(held_out(evaluation)), duels.of(changed(evaluation))
    lost, won = (verdict.listed(first, x) for x in (verdict.HIGHER, verdict.LOWER))
    found = [f"It has {verdict.tally(first)}." if first else "No task is held out."]
    found += [f"It loses on {lost}."] if lost else []
    found += [f"It wins on {won}."] if won else []
    found += _all_tasks(evaluation, learned)
    found += _speed(evaluation, learned)
    if after:
        lost = verdict.listed(after, verdict.HIGHER)
        found.append(f"Where a task is changed it has {verdict.tally(after)}.")
        found += [f"Changed tasks that it loses: {lost}."] if lost else []
    return [*found, *_diverged(evaluation, learned)]


def _all_tasks(evaluation: Evaluation, learned: str) -> list[str]:
    rows = {str(row.get("optimizer")): row for row in evaluation.rows("aggregate")}
    mine = rows.get(learned, {})
    if form(mine.get("iqm")) == ABSENT:
        return []
    low, high = (form(mine.get(x), ".3g") for x in ("iqm_low", "iqm_high"))
    words = (
        f"Over all held-out tasks its loss is {form(mine['iqm'], '.3g')} times that of "
        f"{reference(evaluation)} (interquartile mean; 95 % interval {low} to {high})"
    )
    others = [x for x in rows.values() if form(x.get("iqm")) != ABSENT]
    place = 1 + sum(x["iqm"] < mine["iqm"] for x in others)
    best = min(others, key=lambda x: x["iqm"])
    words += f", number {place} of {len(others)} optimizers"
    if best is not mine:
        words += f"; the first is {best.get('optimizer')} with {form(best['iqm'], '.3g')}"
    return [words + "."]


def _speed(evaluation: Evaluation, learned: str) -> list[str]:
    """On how many tasks the target is reached sooner, by steps and by the clock."""
    settings = held_out(evaluation)
    targets = [x for x in settings if evaluation.value(x, learned, "target") is not None]
    if not targets:
        return []
    reached = [x for x in targets if evaluation.value(x, learned, "steps_to_target") is not None]
    sooner, earlier = (
        sum((evaluation.value(x, learned, measure) or 0) > 1 for x in reached)
        for measure in ("speedup", "speedup_seconds")
    )
    return [
        f"It comes down to the final loss of {reference(evaluation)} on {len(reached)} of "
        f"{len(targets)} held-out tasks, in fewer steps on {sooner} and in less time on {earlier}."
    ]


def _diverged(evaluation: Evaluation, learned: str) -> list[str]:
    titles = [
        f"{x.title} ({form(rate, '.0%')})"
        for x in evaluation.settings
        if (rate := evaluation.value(x, learned, "diverged"))
    ]
    return [f"Runs diverged on {', '.join(titles)}."] if titles else ["None of its runs diverged."]
