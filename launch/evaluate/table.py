"""An evaluation on the terminal: a table, a verdict per task, and all tasks together."""

from collections.abc import Mapping, Sequence
from typing import Any

from rich.console import Console
from rich.table import Table

from launch import verdict_words
from meta_train.evaluation.verdict import Loss, duel

_WIDTH = 110
"""Columns where the output is no terminal."""
_LOSSES = {"mean_loss": "mean", "final_valid_loss": "valid"}


def show(summary: Mapping[str, Any]) -> None:
    """Print the tables, and one line for every learned optimizer in every setting."""
    console = Console()
    if not console.is_terminal:
        console = Console(width=_WIDTH)
    console.print(_settings(summary))
    console.print(_aggregate(summary))
    if summary["comparisons"]:
        console.print(comparisons(summary["comparisons"]))
    for line in verdicts(summary):
        print(line)


def verdicts(summary: Mapping[str, Any]) -> list[str]:
    """How each learned optimizer fared against the best baseline, by mean training loss."""
    kinds = {entry["name"]: entry["kind"] for entry in summary["optimizers"]}
    lines = []
    for task, rows in _by_setting(summary):
        baselines = [Loss.of(x) for x in rows if kinds[x["optimizer"]] == "baseline"]
        lines += [
            verdict_words.line(duel(_title(task), Loss.of(x), baselines)) + _speed(x)
            for x in rows
            if kinds[x["optimizer"]] == "learned"
        ]
    return lines


def comparisons(rows: Sequence[Mapping[str, Any]]) -> Table:
    """The rows of ``launch.evaluate.comparisons``."""
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


def _speed(row: Mapping[str, Any]) -> str:
    """When it comes to the target, and how often it diverges, in words that follow others."""
    words, goal = "", f"the final loss of {row['target_optimizer']}"
    if row["target"] is not None and row["steps_to_target"] is None:
        words = f"; never at {goal}"
    elif row["speedup"] is not None:
        words = f"; at {goal} {row['speedup']:.2f} x as fast in steps"
        words += f", {row['speedup_seconds']:.2f} x in time"
    if row["diverged"]:
        words += f"; {100 * row['diverged']:.0f} % of the runs diverged"
    return words


def _settings(summary: Mapping[str, Any]) -> Table:
    title = f"training over {summary['num_steps']} inner steps, {summary['num_seeds']} seeds"
    table = Table("task", "optimizer", title=title, title_justify="left")
    for column in ("mean loss", "final", "valid", "accuracy", "speed-up", "in time", "µs/step"):
        table.add_column(column, justify="right")
    learned = {entry["name"] for entry in summary["optimizers"] if entry["kind"] == "learned"}
    for task, rows in _by_setting(summary):
        if task["declared_num_steps"] != task["num_steps"]:  # baselines are told nothing else
            rows = [x for x in rows if x["optimizer"] in learned]
        finite = [x["mean_loss"] for x in rows if x["mean_loss"] is not None]
        for row in rows:
            cells = (
                _mean(row),
                _cell(row["final_loss"]),
                _cell(row["final_valid_loss"]),
                _cell(row["final_valid_accuracy"], ".3f"),
                _cell(row["speedup"], ".2f"),
                _cell(row["speedup_seconds"], ".2f"),
                _cell(row["microseconds_per_step"], ".0f"),
            )
            style = "bold" if finite and row["mean_loss"] == min(finite) else None
            table.add_row(_title(task), row["optimizer"], *cells, style=style)
        table.add_section()
    return table


def _aggregate(summary: Mapping[str, Any]) -> Table:
    reference = " or ".join(summary["reference"])
    title = f"loss ratio to the best of {reference}, interquartile mean over the held-out tasks"
    table = Table("optimizer", title=title, title_justify="left")
    columns = ("ratio", "95 % interval", "wins", "diverged", "of all runs")
    columns += ("ns per parameter", "bytes")
    for column in columns:
        table.add_column(column, justify="right")
    costs = {entry["optimizer"]: entry for entry in summary["costs"]}
    for row in summary["aggregate"]:
        cost = costs[row["optimizer"]]
        diverged = row["divergence_rate"]
        table.add_row(
            row["optimizer"],
            _cell(row["iqm"], ".3f"),
            f"{_cell(row['iqm_low'], '.3f')} to {_cell(row['iqm_high'], '.3f')}",
            f"{row['wins']} of {row['tasks']}",
            "" if diverged is None else f"{100 * diverged:.0f} %",
            f"{row['diverged_runs']} of {row['runs']}",
            _cell(cost["ns_per_parameter"], ".1f"),
            _cell(cost["bytes_per_parameter"], ".1f"),
        )
    return table


def _by_setting(
    summary: Mapping[str, Any],
) -> list[tuple[Mapping[str, Any], Sequence[Mapping[str, Any]]]]:
    return [
        (
            task,
            [
                x
                for x in summary["measures"]
                if (x["task"], x["axis"]) == (task["label"], task["axis"])
            ],
        )
        for task in summary["tasks"]
    ]


def _title(task: Mapping[str, Any]) -> str:
    words = f"{task['label']}, {task['axis']}" if task["axis"] else task["label"]
    return words if task["held_out"] else f"{words} ({task['set'].replace('_', '-')} task)"


def _mean(row: Mapping[str, Any]) -> str:
    error = row["std_error"]
    return _cell(row["mean_loss"]) + (f" ± {error:.1g}" if error is not None else "")


def _cell(value: float | None, form: str = ".4g") -> str:
    return "-" if value is None else format(value, form)
