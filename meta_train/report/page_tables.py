"""The tables of a page, and the numbers and settings in them as words."""

import json
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from meta_train.evaluation import Evaluation
from meta_train.evaluation.measures import MEASURES
from meta_train.evaluation.sentences import ABSENT, form, reference
from meta_train.evaluation.workload import Setting


class Cell(NamedTuple):
    """One cell."""

    text: str
    best: bool = False


class Table(NamedTuple):
    """A table with a heading over each column."""

    caption: str
    head: Sequence[str]
    rows: Sequence[Sequence[Cell]]
    texts: int = 1
    """The first so many columns hold words, the others numbers."""


def measures(evaluation: Evaluation, settings: Sequence[Setting], section: str) -> list[Table]:
    """A table for every measure of a section of the page, as far as it was measured."""
    wanted = [name for name, x in MEASURES.items() if x.caption and x.section == section]
    found = (_measure(evaluation, settings, name) for name in wanted)
    return [table for table in found if table]


def _measure(evaluation: Evaluation, settings: Sequence[Setting], name: str) -> Table | None:
    """One measure of every optimizer in every setting, the best of each row marked."""
    measure, names = MEASURES[name], evaluation.optimizers

    def row(setting: Setting) -> list[Cell]:
        values = [evaluation.value(setting, one, name) for one in names]
        finite = [x for x in values if x is not None]
        best = measure.best(finite) if measure.best and finite else None
        words = [form(x, measure.page_spec) for x in values]
        if measure.error:
            errors = [evaluation.value(setting, one, measure.error) for one in names]
            ends = ["" if error is None else f" ± {form(error, '.1g')}" for error in errors]
            words = [x + end for x, end in zip(words, ends, strict=True)]
        marks = [best is not None and x == best for x in values]
        return [Cell(setting.title), *map(Cell, words, marks)]

    if not any(evaluation.value(x, y, name) is not None for x in settings for y in names):
        return None
    goal = f"the final training loss of {reference(evaluation)} (the lower)"
    caption = measure.caption.replace("GOAL", goal)
    return Table(caption, ("task", *names), [row(x) for x in settings])


def aggregate(evaluation: Evaluation) -> Table | None:
    """All held-out tasks together."""
    rows = evaluation.rows("aggregate")
    if not rows:
        return None
    ratios = [x["iqm"] for x in rows if form(x.get("iqm")) != ABSENT]
    caption = (
        f"Loss ratio: mean training loss over that of {reference(evaluation)} (the lower), "
        "interquartile mean over held-out tasks and seeds with a bootstrap interval over both. "
        "Wins: tasks with the lowest mean training loss of all."
    )
    head = ("optimizer", "loss ratio", "95 % interval", "wins", "diverged")

    def line(row: dict[str, Any]) -> list[Cell]:
        ends = [form(row.get(x), ".3f") for x in ("iqm_low", "iqm_high")]
        wins = f"{form(row.get('wins'), ',.0f')} of {form(row.get('tasks'), ',.0f')}"
        best = bool(ratios) and row.get("iqm") == min(ratios)
        return [
            Cell(str(row.get("optimizer"))),
            Cell(form(row.get("iqm"), ".3f"), best),
            Cell(ABSENT if ABSENT in ends else " to ".join(ends)),
            Cell(wins),
            Cell(form(row.get("divergence_rate"), ".0%")),
        ]

    return Table(caption, head, [line(row) for row in rows])


def optimizers(evaluation: Evaluation) -> Table:
    """What was judged, and what an update costs."""
    costs = {str(x.get("optimizer")): x for x in evaluation.rows("costs")}
    head = (
        "optimizer",
        "what it is",
        "meta-trained for",
        "ns per parameter",
        "bytes per parameter",
    )
    caption = (
        "What was judged. Costs are of one update of a dense layer without its gradient, and of "
        "the optimizer's state."
    )
    rows = []
    for entry in evaluation.rows("optimizers"):
        name, horizon = str(entry.get("name")), entry.get("horizon")
        cost = costs.get(name, {})
        steps = f"{form(horizon, ',.0f')} steps" if horizon else ""
        numbers = [form(cost.get(f"{x}_per_parameter"), ".1f") for x in ("ns", "bytes")]
        rows.append(_row(name, str(entry.get("description") or ""), steps, *numbers))
    return Table(caption, head, rows, texts=2)


def tuned(evaluation: Evaluation) -> Table | None:
    """Hyperparameters that were found."""
    rows = [_tuned(row) for row in evaluation.rows("tuned")]
    if not rows:
        return None
    caption = (
        "Hyperparameters of the tuned baselines. A search whose learning rate ends at the edge of "
        "its range is marked; its baseline may be better than shown."
    )
    return Table(caption, ("task", "optimizer", "hyperparameters", "from", "trials"), rows, texts=4)


def _tuned(row: dict[str, Any]) -> list[Cell]:
    task, axis, values = str(row.get("task")), row.get("axis"), row.get("hyperparameters")
    found = values if isinstance(values, dict) else {}
    words = ", ".join(f"{name} {form(x, '.3g')}" for name, x in found.items())
    return _row(
        f"{task}, {axis}" if axis else task,
        str(row.get("optimizer")),
        words + (" (at the edge)" if row.get("at_edge") else ""),
        str(row.get("source") or ("cache" if row.get("from_cache") else "search")),
        form(row.get("trials"), ",.0f"),
    )


def _row(*cells: str) -> list[Cell]:
    return [Cell(text) for text in cells]


def fields(values: Mapping[str, Any]) -> str:
    """Fields as one line: "hidden = [32, 32], step_mult = 0.03"."""
    return ", ".join(f"{name} = {plain(value)}" for name, value in values.items())


def named(section: Any) -> str:
    """A section of a config that has a ``name``: "pes: std = 0.01, horizon = 1000"."""
    if not isinstance(section, Mapping):
        return ""
    rest = {name: value for name, value in section.items() if name != "name"}
    return f"{plain(section.get('name'))}: {fields(rest)}"


def plain(value: Any) -> str:
    """A value of a config as text; strings stand for themselves."""
    if isinstance(value, str):
        return value
    if isinstance(value, float):
        return f"{value:.6g}"
    return json.dumps(value, default=str)


def flat(values: Mapping[str, Any], path: str = "") -> dict[str, Any]:
    """Nested fields by their path: {"estimator.std": 0.01}."""
    found: dict[str, Any] = {}
    for name, value in values.items():
        where = f"{path}.{name}" if path else name
        found |= flat(value, where) if isinstance(value, Mapping) and value else {where: value}
    return found


def facts(values: Mapping[str, Any]) -> dict[str, str]:
    """Nested fields as words by path, without those that hold nothing."""
    return {name: plain(value) for name, value in flat(values).items() if value not in (None, {})}
