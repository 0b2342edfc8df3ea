"""The figures of a diagnosis: variances, and the meta-loss around theta."""

import math
from typing import TYPE_CHECKING

import numpy as np
from etils import epath
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import LinearSegmentedColormap, Normalize
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter

from meta_train.diagnosis.landscape import Landscape
from meta_train.figures import panels, styles
from meta_train.figures.panels import Panel
from meta_train.figures.styles import Line

if TYPE_CHECKING:
    from meta_train.diagnosis.diagnosis import Diagnosis

_LEVELS = 14
_GREYS = LinearSegmentedColormap.from_list("greys", ["#8A8A8A", "#FFFFFF"])
"""Low meta-losses are dark, and never so dark that a black line is not seen."""
_WIDTH, _HEIGHT = 7.2, 3.1
"""Inches, of two panels side by side."""


def save(diagnosis: "Diagnosis", folder: epath.Path) -> None:
    """Write every figure as PNG and PDF."""
    with styles.drawing():
        variances(diagnosis).save(folder)
        if diagnosis.landscape is not None:
            surfaces(diagnosis.landscape).save(folder)


def variances(diagnosis: "Diagnosis") -> Panel:
    """Variance against the truncations of an episode, and against particles."""
    figure, (left, right) = _pair_of_axes()
    names = list(dict.fromkeys(row.setting.name for row in diagnosis.rows))
    unbiased = {row.setting.name for row in diagnosis.rows if row.unbiased}
    lines = styles.lines(
        [x for x in names if x in unbiased], [x for x in names if x not in unbiased]
    )
    for name in names:
        shown = [x for x in diagnosis.rows if x.setting.name == name and x.setting.std_factor == 1]
        shown.sort(key=lambda row: row.truncations)
        unrolls = [row.truncations for row in shown]
        _with_errors(left, unrolls, [row.variance for row in shown], lines[name], name)
    _finish(left, "equal inner steps: one pair, one episode", "truncations in an episode, T / K")
    left.set_ylabel("variance of the gradient")
    for name, points in diagnosis.particles.items():
        line = lines[name.split(",")[0]]
        numbers = np.array([n for n, _ in points])
        _with_errors(right, numbers, [x for _, x in points], line, name.split(", std")[0])
        first = points[0][1].value * numbers[0]
        right.plot(numbers, first / numbers, color=styles.GREY, linewidth=0.8, zorder=1)
    _finish(right, "whole episodes of N particles; grey: 1 / N", "particles, N")
    label = "variance of the meta-gradient against truncations per episode, and against particles"
    return Panel(figure, "variance", label)


def surfaces(landscape: Landscape) -> Panel:
    """The meta-loss raw and smoothed, with the paths of estimators on both."""
    figure, axes = _pair_of_axes()
    low, high = _limits(landscape)
    norm = Normalize(low, high)
    levels = np.linspace(low, high, _LEVELS + 1)
    places = landscape.places
    lines = styles.lines([], list(landscape.paths))
    for one, values, title in (
        (axes[0], landscape.raw, "meta-loss"),
        (axes[1], landscape.smoothed, "meta-loss, theta perturbed with std"),
    ):
        shown = np.clip(np.where(np.isfinite(values), values, high), low, high)
        one.grid(False)
        one.contourf(places, places, shown.T, levels=levels, cmap=_GREYS, norm=norm)
        one.contour(places, places, shown.T, levels=levels, colors="#777777", linewidths=0.3)
        for name, path in landscape.paths.items():
            inside = path[np.isfinite(path).all(axis=1)]
            one.plot(*inside.T, marker=".", markersize=3, **lines[name].kwargs())
        one.plot(0, 0, marker="o", color=styles.BLACK, markersize=4, zorder=4)
        one.set_title(title)
        one.set_xlabel("along the estimated gradient")
        one.set_xlim(places[0], places[-1])
        one.set_ylim(places[0], places[-1])
        one.xaxis.set_major_formatter(FuncFormatter(panels.plain))
        one.yaxis.set_major_formatter(FuncFormatter(panels.plain))
    axes[0].set_ylabel("along a random direction")
    figure.colorbar(ScalarMappable(norm, _GREYS), ax=list(axes), shrink=0.9)
    handles = [Line2D([], [], **line.kwargs()) for line in lines.values()]
    figure.legend(handles, list(lines), loc="outside lower center", ncols=2)
    label = f"the meta-loss around theta, raw and smoothed; paths of {', '.join(lines)}"
    return Panel(figure, "landscape", label)


def _pair_of_axes() -> tuple[Figure, tuple[Axes, Axes]]:
    figure = Figure(figsize=(_WIDTH, _HEIGHT), layout=ConstrainedLayoutEngine(w_pad=0.05))
    left, right = figure.subplots(1, 2)
    return figure, (left, right)


def _with_errors(axes: Axes, places, values, line: Line, label: str) -> None:
    numbers = [x.value for x in values]
    errors = [min(x.error, 0.9 * x.value) for x in values]
    axes.errorbar(
        places, numbers, errors, label=label, marker="o", markersize=3.5, capsize=2.5,
        zorder=3, **line.kwargs(),
    )  # fmt: skip


def _finish(axes: Axes, title: str, xlabel: str) -> None:
    axes.set_title(title)
    axes.set_xlabel(xlabel)
    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.xaxis.set_major_formatter(FuncFormatter(panels.plain))
    axes.yaxis.set_major_formatter(FuncFormatter(panels.plain))


def _limits(landscape: Landscape) -> tuple[float, float]:
    """Of the colours: a few points of a huge loss do not wash out all others."""
    values = np.concatenate([landscape.raw.ravel(), landscape.smoothed.ravel()])
    finite = values[np.isfinite(values)]
    if not len(finite):
        return 0.0, 1.0
    low, high = float(finite.min()), float(np.quantile(finite, 0.95))
    return (low, high) if high > low else (low, low + max(abs(low), math.ulp(1.0)))
