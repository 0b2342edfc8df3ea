"""PNG plots of a run, in colours that colour-blind readers can tell apart."""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from launch.report import panels, styles
from meta_train.evaluation import Evaluation
from meta_train.evaluation.evaluation import Curve, Setting


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


def plot_comparison(found: Evaluation, path: Path) -> None:
    """Training loss over inner steps of every optimizer, per task.

    Lines are means over seeds, bands go from the lowest seed to the highest.

    Args:
        found: the comparison that ended a run.
        path: PNG file to write.
    """
    columns = min(3, len(found.settings))
    rows = math.ceil(len(found.settings) / columns)
    figure = Figure(figsize=(1.5 + 4.5 * columns, 3.8 * rows), layout="constrained")
    grid = figure.subplots(rows, columns, squeeze=False)
    lines = styles.lines(found.learned, found.baselines)
    for axes, setting in zip(grid.flat, found.settings, strict=False):
        curves = {
            name: found.curves["train_loss"][setting.label, setting.axis, name]
            for name in found.optimizers
        }
        bands = {name: _band(curve) for name, curve in curves.items()}
        panels.bands(axes, bands, lines)
        panels.scale_losses(axes, [band.mean for band in bands.values()])
        axes.set_title(setting.title, fontsize=10)
        axes.set_xlabel("inner step")
        axes.set_ylabel("training loss")
        _finish(axes, [_label(found, setting, name) for name in found.optimizers])
    for axes in grid.flat[len(found.settings) :]:
        axes.set_axis_off()
    note = "Lines: means over seeds. Bands: from the lowest seed to the highest."
    figure.supxlabel(note, fontsize=8, color="#555555")
    _save(figure, path)


def _band(curve: Curve) -> panels.Band:
    values = curve.values
    return panels.Band(curve.steps, values.mean(axis=0), values.min(axis=0), values.max(axis=0))


def _series(records: Sequence[Mapping[str, Any]], name: str) -> tuple[np.ndarray, np.ndarray]:
    points = [(r["meta_step"], r[name]) for r in records if r.get(name) is not None]
    steps, losses = zip(*points, strict=True) if points else ((), ())
    return np.asarray(steps, np.int64), np.asarray(losses, np.float64)


def _label(found: Evaluation, setting: Setting, name: str) -> str:
    mean = found.value(setting, name, "mean_loss")
    words = name if mean is None else f"{name}: mean {mean:.3g}"
    for row in found.rows("tuned"):
        if (row["task"], row["axis"], row["optimizer"]) == (setting.label, setting.axis, name):
            words += f", rate {row['hyperparameters']['learning_rate']:.2g}"
    return words


def _finish(axes: Any, labels: Sequence[str] | None = None) -> None:
    axes.grid(visible=True, color="#E5E5E5", linewidth=0.6)
    axes.spines[["top", "right"]].set_visible(False)
    handles, names = axes.get_legend_handles_labels()
    axes.legend(handles, labels or names, fontsize=8, frameon=False)


def _save(figure: Figure, path: Path) -> None:
    FigureCanvasAgg(figure)
    figure.savefig(path, dpi=150)
