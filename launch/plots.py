"""PNG plots of a run, in colours that colour-blind readers can tell apart."""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from launch.comparison import best_rows
from meta_train.evaluation import LEARNED, Row

# Okabe and Ito's palette, with a line style each, so that it also reads in grey.
_STYLES: tuple[dict[str, Any], ...] = (
    {"color": "#0072B2", "linestyle": "-"},
    {"color": "#D55E00", "linestyle": "--"},
    {"color": "#009E73", "linestyle": "-."},
    {"color": "#CC79A7", "linestyle": ":"},
)


def plot_meta_loss(records: Sequence[Mapping[str, Any]], path: Path) -> None:
    """Meta-loss over meta-steps with its running mean, and the meta-validation.

    Args:
        records: the lines of metrics.jsonl.
        path: PNG file to write.
    """
    figure = Figure(figsize=(7, 4.2), layout="constrained")
    axes = figure.add_subplot()
    steps, losses_of_steps = _series(records, "meta_loss")
    window = max(1, len(steps) // 40)
    axes.plot(steps, losses_of_steps, color="#BBBBBB", linewidth=0.8, label="meta-loss")
    if window > 1 and len(steps) > window:
        smooth = np.convolve(losses_of_steps, np.ones(window) / window, mode="valid")
        centres = np.asarray(steps[window - 1 :]) - (steps[window - 1] - steps[0]) / 2
        axes.plot(centres, smooth, **_STYLES[0], label=f"its mean over {window} records")
    steps, losses = _series(records, "meta_valid_loss")
    if steps:
        axes.plot(steps, losses, color="#D55E00", linewidth=0, marker="o", markersize=4,
                  label="meta-validation (fresh seeds)")  # fmt: skip
    axes.set_xlabel("meta-step")
    axes.set_ylabel("loss per inner step")
    _log_where_possible(axes, losses_of_steps, losses)
    _finish(axes)
    _save(figure, path)


def plot_comparison(rows: Sequence[Row], held_out: Mapping[str, object], path: Path) -> None:
    """Training loss over inner steps of every optimizer at its best learning rate, per task.

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
        for style, row in zip(_STYLES, members, strict=False):
            curve = _smooth(row.curve)
            width = 2.0 if row.optimizer == LEARNED else 1.4
            steps = np.linspace(1, len(row.curve), len(curve))
            axes.plot(steps, curve, **style, linewidth=width, label=_label(row))
        axes.set_title(f"{task} (held out)" if task in held_out else task, fontsize=10)
        axes.set_xlabel("inner step")
        axes.set_ylabel("training loss")
        _log_where_possible(axes, *[row.curve for row in members])
        _finish(axes)
    for axes in grid.flat[len(by_task) :]:
        axes.set_axis_off()
    _save(figure, path)


def _series(records: Sequence[Mapping[str, Any]], name: str) -> tuple[list[int], list[float]]:
    points = [(r["meta_step"], r[name]) for r in records if r.get(name) is not None]
    return [step for step, _ in points], [loss for _, loss in points]


def _label(row: Row) -> str:
    if row.learning_rate is None:
        return f"{row.optimizer}: mean {row.mean_loss:.3g}"
    return f"{row.optimizer}, rate {row.learning_rate:.2g}: mean {row.mean_loss:.3g}"


def _smooth(curve: np.ndarray) -> np.ndarray:
    """Means of blocks, at most 100: minibatch noise would hide one line behind another."""
    size = math.ceil(len(curve) / 100)
    whole = len(curve) // size * size
    return curve[:whole].reshape(-1, size).mean(axis=1)


def _log_where_possible(axes: Any, *series: Sequence[float] | np.ndarray) -> None:
    """Losses fall by orders of magnitude; objectives that may be negative stay linear."""
    values = np.concatenate([np.asarray(x, np.float64) for x in series])
    finite = values[np.isfinite(values)]
    if len(finite) and finite.min() >= 0 and finite.max() > 0:
        axes.set_yscale("log", nonpositive="mask")  # a loss that rounds to 0 leaves a gap


def _finish(axes: Any) -> None:
    axes.grid(visible=True, color="#E5E5E5", linewidth=0.6)
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(fontsize=8, frameon=False)


def _save(figure: Figure, path: Path) -> None:
    FigureCanvasAgg(figure)
    figure.savefig(path, dpi=150)
