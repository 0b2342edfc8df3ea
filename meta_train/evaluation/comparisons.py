"""Learned optimizers against others, over all held-out tasks, from the plain data of summaries.

A ratio is an optimizer's loss, of one seed on one task, over the mean of the other's seeds on that
task: below 1 is better. Rows hold the interquartile mean of ratios over tasks and seeds with its
95 % interval (``meta_train.evaluation.aggregate``), on how many tasks the mean is lower, and the
worst task by means over seeds. The same for final validation losses; differences of the final
validation accuracy; ratios of the time of a step. Numbers that are not finite are None.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float

from meta_train.evaluation import aggregate
from meta_train.evaluation.measures import BY_SEED

ITSELF = "itself, told the true num_steps"

Row = Mapping[str, Any]
"""One optimizer in one setting: an entry of ``measures`` in summary.json."""


class Pair(NamedTuple):
    """An optimizer and its rival in one setting; without a rival where none has a finite loss."""

    own: Row
    other: Row | None


def compare(summary: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Every learned optimizer against the best of the reference and each other optimizer.

    Args:
        summary: with ``tasks``, ``measures``, ``optimizers`` and ``reference``.

    Returns:
        Rows with ``optimizer``, ``axis``, ``to`` and ``measure``. The axis is "" but for the last
        rows, which compare an optimizer that was told a wrong number of steps with itself.
    """
    labels = [x["label"] for x in summary["tasks"] if x["set"] == "held_out" and not x["axis"]]
    rows = by_place(summary["measures"])
    learned = [x["name"] for x in summary["optimizers"] if x["kind"] == "learned"]
    reference = summary["reference"]
    rivals = {f"best of {', '.join(reference)}": reference} if len(reference) > 1 else {}
    rivals |= {x["name"]: [x["name"]] for x in summary["optimizers"]}
    found = [
        {"optimizer": own, "axis": "", "to": to, "measure": measure}
        | _together(pair_up(rows, labels, own, others, measure), measure)
        for own in learned
        for to, others in rivals.items()
        if to != own
        for measure in BY_SEED
        if labels
    ]
    true = {x["label"]: (x["fields"], x["num_steps"]) for x in summary["tasks"] if not x["axis"]}
    told = [
        x
        for x in summary["tasks"]
        if x["set"] == "held_out"
        and x["declared_num_steps"] != x["num_steps"]
        and (x["fields"], x["num_steps"]) == true[x["label"]]
    ]
    for axis in dict.fromkeys(x["axis"] for x in told):
        for own in learned:
            with_itself = [
                Pair(rows[x["label"], axis, own], _finite(rows[x["label"], "", own], BY_SEED[0]))
                for x in told
                if x["axis"] == axis
            ]
            row = {"optimizer": own, "axis": axis, "to": ITSELF, "measure": BY_SEED[0]}
            found.append(row | _together(with_itself, BY_SEED[0]))
    return found


def merge(summaries: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """A summary of all tasks together, with its comparisons.

    Raises:
        ValueError: a task in two of them, other numbers of seeds, or a summary of before there were
            comparisons.
    """
    if any("comparisons" not in x for x in summaries):
        raise ValueError("an evaluation is of an older version of lopt; evaluate again")
    if len({x["num_seeds"] for x in summaries}) > 1:
        raise ValueError("the evaluations have different numbers of seeds")
    labels = [x["label"] for one in summaries for x in one["tasks"] if not x["axis"]]
    if twice := {x for x in labels if labels.count(x) > 1}:
        raise ValueError(f"task {min(twice)} is in two of the evaluations")
    first, *others = summaries
    shared = [x for x in first["optimizers"] if all(_has(one, x) for one in others)]
    names = {x["name"] for x in shared}
    merged = {
        "num_steps": min(x["num_steps"] for x in summaries),
        "num_seeds": first["num_seeds"],
        "tasks": [x for one in summaries for x in one["tasks"]],
        "measures": [x for one in summaries for x in one["measures"] if x["optimizer"] in names],
        "optimizers": shared,
        "reference": [x for x in first["reference"] if x in names],
    }
    return merged | {"comparisons": compare(merged)}


def _has(summary: Mapping[str, Any], entry: Mapping[str, Any]) -> bool:
    """Whether it has the same optimizer: the same theta, or the same words about a baseline."""
    fields = ("name", "kind", "description", "theta_sha256")
    return any(all(x.get(y) == entry.get(y) for y in fields) for x in summary["optimizers"])


def by_place(rows: Iterable[Row]) -> dict[tuple[str, str, str], Row]:
    """Rows by task, axis and optimizer."""
    return {(x["task"], x["axis"], x["optimizer"]): x for x in rows}


def pair_up(
    rows: Mapping[tuple[str, str, str], Row],
    labels: Sequence[str],
    own: str,
    others: Sequence[str],
    measure: str,
) -> list[Pair]:
    """An optimizer on every task, each with the one of the others that has the lowest loss there.

    Args:
        rows: the measures, see ``by_place``.
        labels: the tasks.
        own: the optimizer's name.
        others: names of its rivals.
        measure: the loss that is compared.
    """
    found = []
    for label in labels:
        finite = [x for name in others if (x := _finite(rows[label, "", name], measure))]
        best = min(finite, key=lambda x: x[measure], default=None)
        found.append(Pair(rows[label, "", own], best))
    return found


def ratios(pairs: Sequence[Pair], measure: str) -> dict[str, Float[np.ndarray, " seeds"]]:
    """Each seed's loss over the rival's mean, by task, where the rival's loss is above zero."""
    return {
        own["task"]: np.asarray([_number(x) for x in own["by_seed"][measure]]) / x[measure]
        for own, x in pairs
        if x is not None and x[measure] > 0
    }


def interquartile(found: Mapping[str, np.ndarray]) -> dict[str, float | None]:
    """The interquartile mean of ``ratios`` with its interval; None where there are none."""
    if not found:
        return {"iqm": None, "iqm_low": None, "iqm_high": None}
    table = np.stack(list(found.values()))
    low, high = aggregate.iqm_interval(table)
    return {"iqm": float(aggregate.iqm(table.ravel())), "iqm_low": low, "iqm_high": high}


def _finite(row: Row, measure: str) -> Row | None:
    return None if row[measure] is None else row


def _together(pairs: Sequence[Pair], measure: str) -> dict[str, Any]:
    """All columns of a row."""
    found = ratios(pairs, measure)
    means = {task: float(x.mean()) for task, x in found.items()}
    worst = max(means, key=means.__getitem__, default=None)
    better = [_number(own[measure]) < (_number(x[measure]) if x else math.inf) for own, x in pairs]
    columns = {
        **interquartile(found),
        "worst": None if worst is None else means[worst],
        "worst_task": worst,
        "better": sum(better),
        "tasks": len(pairs),
        **_accuracy(pairs),
        **_seconds(pairs),
    }
    infinite = {k for k, x in columns.items() if isinstance(x, float) and not math.isfinite(x)}
    return columns | dict.fromkeys(infinite)


def _accuracy(pairs: Sequence[Pair]) -> dict[str, Any]:
    field = "final_valid_accuracy"
    differences = {
        own["task"]: own[field] - x[field]
        for own, x in pairs
        if x is not None and own[field] is not None and x[field] is not None
    }
    lowest = min(differences, key=differences.__getitem__, default=None)
    return {
        "accuracy_difference": float(np.mean([*differences.values()])) if differences else None,
        "lowest_accuracy_difference": None if lowest is None else differences[lowest],
        "lowest_accuracy_task": lowest,
    }


def _seconds(pairs: Sequence[Pair]) -> dict[str, Any]:
    field = "microseconds_per_step"
    ratios = [own[field] / x[field] for own, x in pairs if x is not None]
    return {
        "seconds_ratio": float(np.median(ratios)) if ratios else None,
        "highest_seconds_ratio": max(ratios, default=None),
    }


def _number(value: float | None) -> float:
    return math.inf if value is None else value
