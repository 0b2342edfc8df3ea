"""Tables of an evaluation for the terminal."""

from collections.abc import Mapping, Sequence
from typing import Any

from rich import box
from rich.console import Console
from rich.table import Table

from meta_train.evaluation.evaluation import Evaluation
from meta_train.evaluation.judge import Judged
from meta_train.evaluation.measures import MEASURES, Measure, mean_losses

_WIDTH = 110
"""Columns where the output is no terminal."""
_LOSSES = {"mean_loss": "mean", "final_valid_loss": "valid"}
"""What a comparison calls the loss that it is of."""


def show(evaluation: Evaluation, *more: Table) -> None:
    """Print the table of losses, others, and the verdict on every learned optimizer."""
    console = Console()
    if not console.is_terminal:
        console = Console(width=_WIDTH)
    for table in (losses(evaluation), *more):
        console.print(table)
    for name in evaluation.learned:
        print(evaluation.verdict(name), flush=True)


def line(found: Sequence[Judged], seconds: float) -> str:
    """What one optimizer came to on a task and its changes, for ``evaluate``'s ``progress``."""
    first = found[0]
    loss = mean_losses(first.curves.train_loss).mean()
    changes = f" and {len(found) - 1} changes" if len(found) > 1 else ""
    return (
        f"{first.workload.label}{changes}  {first.optimizer}: mean loss {loss:.4g} "
        f"({seconds:.1f} s)"
    )


def losses(evaluation: Evaluation) -> Table:
    """Every optimizer on every workload; the lowest mean loss of each is bold."""
    summary = evaluation.summary
    title = f"training over {summary['num_steps']} inner steps, {summary['num_seeds']} seeds"
    table = Table(title=title, title_justify="left", box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0))
    table.add_column("optimizer", overflow="fold", min_width=16)
    columns = {name: x for name, x in MEASURES.items() if x.column}
    for measure in columns.values():
        table.add_column(measure.column, justify="right", no_wrap=not measure.error)
    for setting, task in zip(evaluation.settings, summary["tasks"], strict=True):
        told_wrong = task["declared_num_steps"] != task["num_steps"]
        # Baselines are told nothing else than on the task itself.
        names = evaluation.learned if told_wrong else [x["name"] for x in summary["optimizers"]]
        rows = [evaluation.measures[setting.label, setting.axis, name] for name in names]
        finite = [x["mean_loss"] for x in rows if x["mean_loss"] is not None]
        table.add_row(setting.title, style="italic")
        for row in rows:
            cells = [_measured(row, name, measure) for name, measure in columns.items()]
            style = "bold" if finite and row["mean_loss"] == min(finite) else None
            table.add_row(f"  {row['optimizer']}", *cells, style=style)
        table.add_section()
    return table


def aggregate(evaluation: Evaluation) -> Table:
    """All held-out tasks together, and what an update costs."""
    summary = evaluation.summary
    reference = " or ".join(summary["reference"])
    title = f"loss ratio to the best of {reference}, interquartile mean over the held-out tasks"
    table = Table("optimizer", title=title, title_justify="left")
    columns = ("ratio", "95 % interval", "wins", "diverged", "of all runs")
    columns += ("ns per parameter", "bytes")
    for column in columns:
        table.add_column(column, justify="right")
    costs = {entry["optimizer"]: entry for entry in evaluation.rows("costs")}
    for row in summary["aggregate"]:
        cost = costs.get(row["optimizer"], {})
        diverged = row["divergence_rate"]
        table.add_row(
            row["optimizer"],
            _cell(row["iqm"], ".3f"),
            f"{_cell(row['iqm_low'], '.3f')} to {_cell(row['iqm_high'], '.3f')}",
            f"{row['wins']} of {row['tasks']}",
            "" if diverged is None else f"{100 * diverged:.0f} %",
            f"{row['diverged_runs']} of {row['runs']}",
            _cell(cost.get("ns_per_parameter"), ".1f"),
            _cell(cost.get("bytes_per_parameter"), ".1f"),
        )
    return table


def comparisons(rows: Sequence[Mapping[str, Any]]) -> Table:
    """The rows of ``meta_train.evaluation.comparisons``."""
    title = (
        "held-out tasks together: interquartile mean of loss ratios; accuracy, higher by so many "
        "points, in the mean and at the lowest; ratio of the time of a step"
    )
    table = Table("optimizer", "to", "loss", title=title, title_justify="left")
    for column in ("ratio", "95 % interval", "better", "worst", "accuracy", "lowest", "time"):
        table.add_column(column, justify="right", overflow="fold")
    for row in rows:
        accuracy, lowest = (
            _cell(None if row[x] is None else 100 * row[x], "+.1f")
            for x in ("accuracy_difference", "lowest_accuracy_difference")
        )
        worst = f" {row['worst_task']}" if row["worst_task"] else ""
        table.add_row(
            f"{row['optimizer']}, {row['axis']}" if row["axis"] else row["optimizer"],
            row["to"],
            _LOSSES[row["measure"]],
            _cell(row["iqm"], ".3f"),
            f"{_cell(row['iqm_low'], '.3f')} to {_cell(row['iqm_high'], '.3f')}",
            f"{row['better']} of {row['tasks']}",
            _cell(row["worst"], ".2f") + worst,
            accuracy,
            lowest,
            _cell(row["seconds_ratio"], ".2f"),
        )
    return table


def _measured(row: Mapping[str, Any], name: str, measure: Measure) -> str:
    error = row.get(measure.error)
    words = "" if error is None else f" ± {error:.1g}"
    return _cell(row.get(name), measure.spec) + words


def _cell(value: float | None, form: str = ".4g") -> str:
    return "-" if value is None else format(value, form)
