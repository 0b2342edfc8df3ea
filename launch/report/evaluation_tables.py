"""Tables of an evaluation."""

from collections.abc import Callable, Sequence
from typing import Any

from launch.report import tables
from launch.report.evaluation_words import reference
from launch.report.tables import Cell, Table
from meta_train.evaluation import Evaluation
from meta_train.evaluation.evaluation import Setting


def measure(
    evaluation: Evaluation,
    settings: Sequence[Setting],
    name: str,
    caption: str,
    best: Callable[[Sequence[float]], float] | None = None,
    write: Callable[[Any], str] = tables.form,
    error: str | None = None,
) -> Table | None:
    """One measure of every optimizer in every setting; None where nothing was measured."""

    def rows(name: str) -> dict[str, list[float | None]]:
        names = evaluation.optimizers
        return {x.title: [evaluation.value(x, y, name) for y in names] for x in settings}

    values = rows(name)
    if all(value is None for row in values.values() for value in row):
        return None
    errors = rows(error) if error else None
    columns = evaluation.optimizers
    return tables.grid(caption, "task", columns, values, best=best, write=write, errors=errors)


def losses(evaluation: Evaluation, settings: Sequence[Setting]) -> list[Table]:
    """Training and validation losses and accuracy; the best of a row is marked."""
    mean = "Mean training loss, over all steps and seeds, with its standard error over seeds"
    final = "Final training loss, over the last twentieth of the steps"
    accuracy = "Final validation accuracy"
    found = (
        measure(evaluation, settings, "mean_loss", mean, min, tables.brief, error="std_error"),
        measure(evaluation, settings, "final_loss", final, min),
        measure(evaluation, settings, "final_valid_loss", "Final validation loss", min),
        measure(evaluation, settings, "final_valid_accuracy", accuracy, max, tables.percent),
    )
    return [table for table in found if table]


def speed(evaluation: Evaluation) -> list[Table]:
    """Steps and seconds to the target."""
    goal = f"the final training loss of {reference(evaluation)} (the lower)"
    wanted = (
        ("steps_to_target", f"Inner steps to {goal}", min, tables.whole),
        ("speedup", "Speed-up in steps: those of the baseline that sets the target over the "
         "optimizer's own", max, tables.factor),
        ("speedup_seconds", "Speed-up in time, likewise", max, tables.factor),
        ("microseconds_per_step", "Microseconds per inner step, gradient included", min,
         tables.whole),
    )  # fmt: skip
    found = (measure(evaluation, evaluation.settings, *entry) for entry in wanted)
    return [table for table in found if table]


def diverged(evaluation: Evaluation) -> Table | None:
    """Fraction of runs that diverged; None where none did."""
    settings = [
        x
        for x in evaluation.settings
        if any(evaluation.value(x, name, "diverged") for name in evaluation.optimizers)
    ]
    caption = "Fraction of runs that diverged, on the tasks where any did"
    return measure(evaluation, settings, "diverged", caption, write=tables.rate)


def aggregate(evaluation: Evaluation) -> Table | None:
    """All held-out tasks together."""
    rows = evaluation.rows("aggregate")
    if not rows:
        return None
    ratios = [x["iqm"] for x in rows if tables.form(x.get("iqm")) != tables.ABSENT]
    caption = (
        f"Loss ratio: mean training loss over that of {reference(evaluation)} (the lower), "
        "interquartile mean over held-out tasks and seeds with a bootstrap interval over both. "
        "Wins: tasks with the lowest mean training loss of all."
    )
    head = ("optimizer", "loss ratio", "95 % interval", "wins", "diverged")

    def line(row: dict[str, Any]) -> list[Cell]:
        ends = [tables.form(row.get(x), ".3f") for x in ("iqm_low", "iqm_high")]
        wins = f"{tables.whole(row.get('wins'))} of {tables.whole(row.get('tasks'))}"
        best = bool(ratios) and row.get("iqm") == min(ratios)
        return [
            Cell(str(row.get("optimizer"))),
            Cell(tables.form(row.get("iqm"), ".3f"), best),
            Cell(tables.ABSENT if tables.ABSENT in ends else " to ".join(ends)),
            Cell(wins),
            Cell(tables.rate(row.get("divergence_rate"))),
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
        steps = f"{tables.whole(horizon)} steps" if horizon else ""
        numbers = [tables.form(cost.get(f"{x}_per_parameter"), ".1f") for x in ("ns", "bytes")]
        rows.append(tables.row(name, str(entry.get("description") or ""), steps, *numbers))
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
    words = ", ".join(f"{name} {tables.form(x, '.3g')}" for name, x in found.items())
    return tables.row(
        f"{task}, {axis}" if axis else task,
        str(row.get("optimizer")),
        words + (" (at the edge)" if row.get("at_edge") else ""),
        str(row.get("source") or ("cache" if row.get("from_cache") else "search")),
        tables.whole(row.get("trials")),
    )
