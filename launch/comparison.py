"""The comparison that ends a run: as a table, a verdict per task, and a file."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.table import Table

from launch import workdir
from meta_train.evaluation import LEARNED, Row, verdict
from meta_train.evaluation.verdict import Duel, Loss


def best_rows(rows: Sequence[Row]) -> dict[str, list[Row]]:
    """For each task the learned optimizer and every baseline at its best learning rate."""
    by_task: dict[str, list[Row]] = {}
    for row in rows:
        if row.best:
            by_task.setdefault(row.task, []).append(row)
    return by_task


def print_table(rows: Sequence[Row], num_steps: int, held_out: Mapping[str, object]) -> None:
    """Print the best rows of every task, then one line of verdict for each.

    Args:
        rows: all rows of the comparison.
        num_steps: inner steps of each training run.
        held_out: tasks, by label, that were not trained on.
    """
    title = f"training loss over {num_steps} inner steps"
    table = Table("task", "optimizer", title=title, title_justify="left")
    for column in ("learning rate", "mean loss", "final loss", "validation"):
        table.add_column(column, justify="right")
    for task, members in best_rows(rows).items():
        lowest = min(members, key=lambda row: row.mean_loss)
        label = f"{task} (held out)" if task in held_out else task
        for row in members:
            rate = "" if row.learning_rate is None else f"{row.learning_rate:.2g}"
            mean = f"{row.mean_loss:.4g} ± {row.std_error:.1g}"
            style = "bold" if row is lowest else None
            losses = (mean, f"{row.final_loss:.4g}", f"{row.final_valid_loss:.4g}")
            table.add_row(label, row.optimizer, rate, *losses, style=style)
            label = ""
        table.add_section()
    console = Console()
    if not console.is_terminal:
        console = Console(width=112)
    console.print(table)
    for duel in duels(rows):
        print(duel, flush=True)


def duels(rows: Sequence[Row]) -> list[Duel]:
    """Of every task the learned optimizer against the best baseline at its best learning rate."""
    return [
        verdict.duel(task, _loss(row), [_loss(other) for other in members if other is not row])
        for task, members in best_rows(rows).items()
        for row in members
        if row.optimizer == LEARNED
    ]


def _loss(row: Row) -> Loss:
    rate = "" if row.learning_rate is None else f" at {row.learning_rate:.2g}"
    return Loss.of({**row._asdict(), "optimizer": row.optimizer + rate})


def write(rows: Sequence[Row], folder: Path) -> None:
    """Write all rows to comparison.json; curves and bands only for the best of each optimizer."""
    entries = []
    for row in rows:
        entry = row._asdict()
        entry["curve"] = _numbers(row.curve) if row.best else None
        entry["band"] = (
            {name: _numbers(values) for name, values in row.band._asdict().items()}
            if row.band
            else None
        )
        for field in ("mean_loss", "final_loss", "std_error", "final_valid_loss"):
            entry[field] = _number(entry[field])
        entries.append(entry)
    workdir.write_json(folder / "comparison.json", entries)


def _numbers(values: np.ndarray) -> list[float | None]:
    return [_number(value) for value in values]


def _number(value: float) -> float | None:
    """Six digits; None where JSON has no such number."""
    return float(f"{value:.6g}") if np.isfinite(value) else None
