"""Figures of an evaluation."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from jaxtyping import Float
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullLocator
from scipy.special import stdtrit

from meta_train.evaluation import Evaluation, verdict
from meta_train.evaluation.evaluation import Curve
from meta_train.evaluation.verdict import Duel
from meta_train.evaluation.workload import Setting
from meta_train.figures import panels, styles
from meta_train.figures.panels import Band, Panel
from meta_train.figures.styles import BLUE, GREY, VERMILLION, Line

LEVEL = 0.95
"""The level of confidence bands."""
_TITLES = {
    "train_loss": ("Training loss", "training loss"),
    "valid_loss": ("Validation loss", "validation loss"),
    "valid_accuracy": ("Validation accuracy", "accuracy"),
}
_OUTCOMES = {
    verdict.LOWER: (BLUE, "o"),
    verdict.HIGHER: (VERMILLION, "s"),
    verdict.UNCLEAR: (GREY, "D"),
}
"""Colour and marker of each outcome."""


def curves(
    evaluation: Evaluation, setting: Setting, column: str, name: str, lines: Mapping[str, Line],
    title: str = "",
) -> Panel | None:  # fmt: skip
    """One column of results.csv over inner steps, with bands over seeds; None without points.

    Args:
        evaluation: what is drawn.
        setting: on which task.
        column: of results.csv.
        name: of the figure on the page.
        lines: style of every optimizer.
        title: over the panel; by default what is drawn.
    """
    found = _found(evaluation, setting, column)
    if not found:
        return None
    kind, ylabel = _TITLES[column]
    figure, axes = panels.new(title or kind, "inner step", ylabel)
    _draw(axes, found, column, lines)
    label = f"{kind} over inner steps on {setting.title}: {', '.join(found)}"
    return Panel(figure, name, label)


def losses(
    evaluation: Evaluation, settings: Sequence[Setting], name: str, lines: Mapping[str, Line]
) -> list[Panel]:
    """The training loss over inner steps, a panel for each setting that has curves."""
    made = (
        curves(evaluation, x, "train_loss", f"{name}-{i}", lines, title=x.title)
        for i, x in enumerate(settings)
    )
    return [panel for panel in made if panel]


def side_by_side(evaluation: Evaluation, name: str) -> Panel:
    """Training losses over inner steps on every task, in one figure."""
    settings, lines = evaluation.settings, styles.lines(evaluation.learned, evaluation.baselines)
    columns = min(3, len(settings))
    rows = math.ceil(len(settings) / columns)
    figure = Figure(figsize=(4.4 * columns, 3.2 * rows), layout="constrained")
    grid = figure.subplots(rows, columns, squeeze=False)
    for axes, setting in zip(grid.flat, settings, strict=False):
        found = _found(evaluation, setting, "train_loss")
        _draw(axes, found, "train_loss", lines)
        means = {x: evaluation.value(setting, x, "mean_loss") for x in found}
        words = {x: "–" if mean is None else f"{mean:.3g}" for x, mean in means.items()}
        labels = [f"{x}: mean {mean}" for x, mean in words.items()]
        axes.legend(axes.get_legend_handles_labels()[0], labels)
        axes.set_title(panels.brief(setting.title))
        axes.set_xlabel("inner step")
        axes.set_ylabel("training loss")
    for axes in grid.flat[len(settings) :]:
        axes.set_axis_off()
    return Panel(figure, name, "Training losses over inner steps")


def _found(evaluation: Evaluation, setting: Setting, column: str) -> dict[str, Curve]:
    curves = evaluation.curves[column]
    keys = {x: (setting.label, setting.axis, x) for x in evaluation.optimizers}
    return {x: curves[key] for x, key in keys.items() if key in curves}


def _draw(axes: Axes, found: Mapping[str, Curve], column: str, lines: Mapping[str, Line]) -> None:
    bands = {
        name: Band(curve.steps, *interval(curve.values, in_logarithm=column != "valid_accuracy"))
        for name, curve in found.items()
    }
    panels.bands(axes, bands, lines)
    means = [band.mean for band in bands.values()]
    if column == "valid_accuracy":
        _scale_accuracy(axes, means)
    else:
        panels.scale_losses(axes, means)


def interval(
    values: Float[np.ndarray, "seeds points"], *, in_logarithm: bool = False
) -> tuple[np.ndarray, ...]:
    """Mean over seeds, and its confidence interval by Student's t.

    NaN where a seed is not finite; of a single seed the interval is the mean.

    Args:
        values: of all seeds.
        in_logarithm: take the interval as a factor on either side, that of the mean's logarithm to
            first order, which never reaches 0; for positive values.
    """
    mean, count = values.mean(axis=0), len(values)
    if count < 2:
        return mean, mean, mean
    quantile = stdtrit(count - 1, 0.5 + LEVEL / 2)
    half = quantile * values.std(axis=0, ddof=1) / math.sqrt(count)
    if in_logarithm and np.all(mean > 0, where=np.isfinite(mean)):
        factor = np.exp(half / mean)
        return mean, mean / factor, mean * factor
    return mean, mean - half, mean + half


def profile(evaluation: Evaluation, lines: Mapping[str, Line]) -> Panel | None:
    """Performance profile: for what fraction of tasks an optimizer is within tau of the best."""
    content = evaluation.summary.get("profile")
    content = content if isinstance(content, Mapping) else {}
    taus, fractions = content.get("taus") or [], content.get("fractions") or {}
    drawn = {name: row for name in evaluation.optimizers
             if (row := fractions.get(name)) and len(row) == len(taus)}  # fmt: skip
    if not drawn:
        return None
    figure, axes = panels.new("Performance profile", "factor τ", "fraction of tasks", 4.6, 3.2)
    for name, row in reversed(drawn.items()):
        values = [math.nan if x is None else x for x in row]
        axes.step(taus, values, where="post", **lines[name].kwargs())
    axes.set_ylim(-0.02, 1.02)
    _log_x(axes, min(taus), max(taus))
    label = f"Fraction of tasks within a factor of the lowest loss: {', '.join(drawn)}"
    caption = (
        "On which fraction of the held-out tasks an optimizer's mean training loss is within τ "
        "times the lowest that any of them has. At τ = 1: how often it is the best. Higher is "
        "better."
    )
    return Panel(figure, "profile", label, caption)


def ratios(name: str, optimizer: str, duels: Sequence[Duel]) -> Panel | None:
    """The loss of a learned optimizer over the best baseline's, task by task."""
    drawn = [duel for duel in duels if math.isfinite(duel.ratio)]
    if not drawn:
        return None
    height = 1.0 + 0.2 * len(duels)
    title = "Loss ratio to the best baseline"
    figure, axes = panels.new(title, "ratio of mean training losses", "", 4.6, height)
    axes.axvline(1.0, color="#888888", linewidth=1.0)
    span = [1.0, *(duel.ratio for duel in drawn)]
    low, high = min(span) / 1.15, max(span) * 1.15
    for place, duel in enumerate(duels):
        if math.isfinite(duel.ratio):
            color, marker = _OUTCOMES[duel.outcome]
            axes.errorbar(duel.ratio, place, xerr=2 * _error(duel), color=color, marker=marker,
                          markersize=5, elinewidth=1.2)  # fmt: skip
        else:
            words = _why_no_ratio(duel)
            axes.text(high, place, words, ha="right", va="center", color=VERMILLION)
    axes.set_yticks(range(len(duels)), [panels.brief(duel.task) for duel in duels])
    axes.set_ylim(len(duels) - 0.5, -0.5)
    _log_x(axes, low, high)
    caption = (
        f"{optimizer}: left of 1 it is better than the best baseline of the task. Circles: lower; "
        "squares: higher; diamonds: no clear difference. Bars: two standard errors over seeds to "
        "either side."
    )
    label = f"Mean training loss of {optimizer} over that of the best baseline, for each task"
    return Panel(figure, name, label, caption)


def iqm(evaluation: Evaluation, lines: Mapping[str, Line]) -> Panel | None:
    """Interquartile means with their confidence intervals, best first."""
    rows = [x for x in evaluation.rows("aggregate") if _is_number(x.get("iqm"))]
    rows = [x for x in rows if x["iqm"] > 0 and x.get("optimizer") in lines]
    if not rows:
        return None
    rows.sort(key=lambda x: x["iqm"])
    title = "Interquartile mean of loss ratios"
    figure, axes = panels.new(title, "loss ratio to the reference", "", 4.6, 0.9 + 0.24 * len(rows))
    axes.axvline(1.0, color="#888888", linewidth=1.0)
    ends = []
    for place, row in enumerate(rows):
        color = lines[row["optimizer"]].color
        low, high = (_end(row, key) for key in ("iqm_low", "iqm_high"))
        axes.hlines(place, low, high, color=color, linewidth=2)
        marker = "o" if row["optimizer"] in evaluation.learned else "|"
        axes.plot(row["iqm"], place, marker=marker, color=color, markersize=7, markeredgewidth=2)
        ends += [low, high]
    axes.set_yticks(range(len(rows)), [panels.brief(row["optimizer"]) for row in rows])
    axes.set_ylim(len(rows) - 0.5, -0.5)
    positive = [x for x in ends if x > 0]
    _log_x(axes, min([1.0, *positive]) / 1.1, max([1.0, *positive]) * 1.1)
    return Panel(figure, "iqm", "Interquartile mean of loss ratios per optimizer")


def _why_no_ratio(duel: Duel) -> str:
    if duel.best is None:
        return "no baseline"
    return "diverged" if duel.learned.diverged else "not above zero"


def _error(duel: Duel) -> float:
    """Standard error of the ratio, to first order."""
    assert duel.best is not None
    relative = [x.std_error / x.mean for x in (duel.learned, duel.best)
                if x.mean and math.isfinite(x.std_error)]  # fmt: skip
    return duel.ratio * math.hypot(*relative)


def _end(row: Mapping[str, Any], key: str) -> float:
    """An end of the interval; the mean itself where there is none."""
    return float(row[key] if _is_number(row.get(key)) else row["iqm"])


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and math.isfinite(value)


def _scale_accuracy(axes: Any, means: Sequence[np.ndarray]) -> None:
    finite = np.concatenate([x[np.isfinite(x)] for x in means])
    if len(finite):
        margin = 0.05 * (finite.max() - finite.min()) or 0.02
        axes.set_ylim(finite.min() - margin, finite.max() + margin)


def _log_x(axes: Any, low: float, high: float) -> None:
    """A logarithmic horizontal axis with plain numbers."""
    span = high / low
    subs = (1.0,) if span > 1000 else (1.0, 3.0) if span > 30 else (1.0, 2.0, 5.0)
    axes.set_xscale("log")
    locator = MaxNLocator(6) if span < 4 else LogLocator(10, subs=subs, numticks=12)
    axes.xaxis.set_major_locator(locator)
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter(FuncFormatter(panels.plain))
    axes.set_xlim(low, high)
