"""PNG plots of a run, in colours that colour-blind readers can tell apart."""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from launch.comparison import best_rows
from launch.report import panels, styles
from meta_train.evaluation import Row


def plot_meta_loss(records: Sequence[Mapping[str, Any]], path: Path) -> None:
    """Meta-loss over meta-steps averaged over blocks, and the meta-validation.

    Args:
        records: the lines of metrics.jsonl.
        path: PNG file to write.
    """
    figure = Figure(figsize=(7, 4.2), layout="constrained")
    axes = figure.add_subplot()
    panels.meta_losses(axes, _series(records, "meta_loss"), _series(records, "meta_valid_loss"))
    axes.set_xlabel("meta-step")
    axes.set_ylabel("loss per inner step")
    _finish(axes)
    _save(figure, path)


def plot_comparison(rows: Sequence[Row], held_out: Mapping[str, object], path: Path) -> None:
    """Training loss over inner steps of every optimizer at its best learning rate, per task.

    Lines are means over seeds, bands go from the lowest seed to the highest.

    Args:
        rows: rows of the comparison.
        held_out: tasks, by label, that were not trained on.
        path: PNG file to write.
    """
    by_task = best_rows(rows)
    columns = min(3, len(by_task))
    lines = math.ceil(len(by_task) / columns)
    figure = Figure(figsize=(1.5 + 4.5 * columns, 3.8 * lines), layout="constrained")
    grid = figure.subplots(lines, columns, squeeze=False)
    for axes, (task, members) in zip(grid.flat, by_task.items(), strict=False):
        bands = {_label(row): row.band for row in members if row.band is not None}
        panels.bands(axes, bands, styles.lines(list(bands)[:1], list(bands)[1:]))
        panels.scale_losses(axes, [band.mean for band in bands.values()])
        axes.set_title(f"{task} (held out)" if task in held_out else task, fontsize=10)
        axes.set_xlabel("inner step")
        axes.set_ylabel("training loss")
        _finish(axes)
    for axes in grid.flat[len(by_task) :]:
        axes.set_axis_off()
    note = "Lines: means over seeds. Bands: from the lowest seed to the highest."
    figure.supxlabel(note, fontsize=8, color="#555555")
    _save(figure, path)


def _series(records: Sequence[Mapping[str, Any]], name: str) -> tuple[np.ndarray, np.ndarray]:
    points = [(r["meta_step"], r[name]) for r in records if r.get(name) is not None]
    steps, losses = zip(*points, strict=True) if points else ((), ())
    return np.asarray(steps, np.int64), np.asarray(losses, np.float64)


def _label(row: Row) -> str:
    if row.learning_rate is None:
        return f"{row.optimizer}: mean {row.mean_loss:.3g}"
    return f"{row.optimizer}, rate {row.learning_rate:.2g}: mean {row.mean_loss:.3g}"


def _finish(axes: Any) -> None:
    axes.grid(visible=True, color="#E5E5E5", linewidth=0.6)
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(fontsize=8, frameon=False)


def _save(figure: Figure, path: Path) -> None:
    FigureCanvasAgg(figure)
    figure.savefig(path, dpi=150)
