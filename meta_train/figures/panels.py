"""Small figures of one size, and how series and curves are drawn in them."""

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from etils import epath
from jaxtyping import Float
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator

from meta_train.figures import svg
from meta_train.figures.styles import Line

_DPI = 200
WIDTH, HEIGHT = 4.0, 2.7
"""Inches; a figure fills a phone's width, and a third of a desk screen's, at a like type size."""
_LONGEST = 40
"""The most characters of a title."""
MOST_BLOCKS = 80
"""The most points that a long series is drawn with."""
_LEAST_LOG_SPAN = 3.0
"""Losses that span less are drawn on a linear axis."""


class Band(NamedTuple):
    """A curve with its spread over seeds; not finite where a seed's loss is not."""

    steps: np.ndarray
    mean: Float[np.ndarray, " points"]
    low: Float[np.ndarray, " points"]
    high: Float[np.ndarray, " points"]


class Panel(NamedTuple):
    """A finished figure; it is drawn, saved and put into a page within ``styles.drawing()``."""

    figure: Figure
    name: str
    """A name that no other figure beside it has; files are called by it."""
    label: str
    """What it shows, for those who cannot see it."""
    caption: str = ""

    @property
    def svg(self) -> str:
        """The figure for an HTML page; see ``svg.inline``."""
        return svg.inline(self.figure, self.name, self.label)

    def save(self, folder: epath.PathLike, kinds: Sequence[str] = ("png", "pdf")) -> None:
        """Write NAME.png and NAME.pdf, with a legend also where a page has it beside the figure."""
        for axes in self.figure.axes:
            if axes.get_legend() is None and axes.get_legend_handles_labels()[0]:
                axes.legend()
        for kind in kinds:
            with (epath.Path(folder) / f"{self.name}.{kind}").open("wb") as file:
                self.figure.savefig(file, format=kind, dpi=_DPI)


class Blocks(NamedTuple):
    """Consecutive values of a series, a block at a time; NaN where a block has no finite one."""

    steps: np.ndarray
    mean: np.ndarray
    low: np.ndarray
    high: np.ndarray
    size: int
    """Values in a block; the last may have fewer."""
    finite: np.ndarray
    """True where all values of the block are finite."""


def new(
    title: str, xlabel: str, ylabel: str, width: float = WIDTH, height: float = HEIGHT
) -> tuple[Figure, Axes]:
    """An empty panel with one pair of axes."""
    figure = Figure(figsize=(width, height), layout=ConstrainedLayoutEngine(w_pad=0.03, h_pad=0.03))
    axes = figure.add_subplot()
    axes.set_title(brief(title))
    axes.set_xlabel(xlabel)
    axes.set_ylabel(ylabel)
    axes.xaxis.set_major_formatter(FuncFormatter(plain))
    axes.yaxis.set_major_formatter(FuncFormatter(plain))
    axes.locator_params(axis="x", nbins=6)
    return figure, axes


def brief(text: str) -> str:
    """Text short enough for a figure."""
    return text if len(text) <= _LONGEST else text[: _LONGEST - 1] + "\N{HORIZONTAL ELLIPSIS}"


def plain(value: int | float, _: Any = None) -> str:
    """A number of an axis, without the raised exponents that need special type."""
    if abs(value) >= 1e5 or 0 < abs(value) < 1e-4:
        mantissa, exponent = f"{value:.3e}".split("e")
        return f"{float(mantissa):g}e{int(exponent)}".replace("-", "\N{MINUS SIGN}")
    return f"{value:,.6g}".replace("-", "\N{MINUS SIGN}")


def blocks(steps: np.ndarray, values: np.ndarray, most: int = MOST_BLOCKS) -> Blocks:
    """At most ``most`` blocks of equal size: mean, lowest and highest finite value of each."""
    size = max(1, math.ceil(len(values) / most))
    missing = -len(values) % size
    table = np.pad(values.astype(np.float64), (0, missing), mode="constant", constant_values=np.nan)
    ours = np.arange(len(table)).reshape(-1, size) < len(values)
    table = np.ma.masked_invalid(table.reshape(-1, size))
    places = np.ma.array(np.pad(steps, (0, missing)).reshape(-1, size), mask=~ours)
    rows = (places.mean(axis=1), table.mean(axis=1), table.min(axis=1), table.max(axis=1))
    filled = [np.ma.filled(row.astype(np.float64), np.nan) for row in rows]
    bad = np.ma.getmaskarray(table) & ours
    return Blocks(*filled, size=size, finite=bad.sum(axis=1) == 0)


def curve(axes: Axes, steps: np.ndarray, values: np.ndarray, line: Line, **options: Any) -> None:
    """Draw a line; where it stops before its end a cross says so."""
    axes.plot(steps, values, **line.kwargs(), **options)
    finite = np.flatnonzero(np.isfinite(values))
    if len(finite) and finite[-1] < len(values) - 1:
        last = finite[-1]
        axes.plot(steps[last], values[last], marker="x", color=line.color, markersize=6)


def bands(axes: Axes, found: Mapping[str, Band], lines: Mapping[str, Line]) -> None:
    """Draw curves of optimizers by name with their bands, the first on top."""
    for i, (name, band) in enumerate(found.items()):
        axes.fill_between(band.steps, band.low, band.high, color=lines[name].color, alpha=0.14,
                          linewidth=0)  # fmt: skip
        curve(axes, band.steps, band.mean, lines[name], label=name, zorder=3 - i / len(found))


def scale_losses(axes: Axes, values: Iterable[np.ndarray]) -> None:
    """Choose a loss axis for lines: logarithmic where that helps, no room for what explodes.

    Args:
        axes: whose vertical axis is set.
        values: the lines; limits follow from their finite numbers.
    """
    finite = [x[np.isfinite(x)] for x in values]
    finite = [x for x in finite if len(x)]
    if not finite:
        return
    low = min(float(x.min()) for x in finite)
    first = max(float(x[0]) for x in finite)
    high = max(float(x.max()) for x in finite)
    if first > 0:
        high = min(high, 4 * first)
    if low <= 0 or high < _LEAST_LOG_SPAN * low:
        margin = 0.05 * (high - low) or 0.05 * abs(high) or 1.0
        axes.set_ylim(low - margin, high + margin)
        return
    margin = (high / low) ** 0.05
    set_log(axes, low / margin, high * margin)


def set_log(axes: Axes, low: float, high: float) -> None:
    """A logarithmic vertical axis with few, plain numbers."""
    decades = np.log10(high / low)
    subs = (1.0,) if decades > 2.5 else (1.0, 3.0) if decades > 1.2 else (1.0, 2.0, 5.0)
    axes.set_yscale("log", nonpositive="clip")
    axes.yaxis.set_major_locator(LogLocator(10, subs=subs, numticks=12))
    axes.yaxis.set_minor_locator(NullLocator())
    axes.yaxis.set_major_formatter(FuncFormatter(plain))
    axes.set_ylim(low, high)
