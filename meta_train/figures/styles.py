"""Colours and line styles of the figures: told apart by colour-blind readers and in grey."""

import contextlib
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import matplotlib

BLUE, VERMILLION, GREEN, PURPLE, ORANGE, SKY, GREY, BROWN, BLACK = (
    "#0072B2",
    "#D55E00",
    "#009E73",
    "#A95AA1",
    "#C98500",
    "#4BA3D9",
    "#666666",
    "#7A4A21",
    "#111111",
)
"""Okabe and Ito's palette and a brown, the lightest darkened until they stand out from white."""

_LEARNED_COLORS = (BLUE, BLACK, PURPLE, GREEN)
_BASELINE_COLORS = (VERMILLION, GREEN, ORANGE, PURPLE, SKY, GREY, BROWN)
_BASELINE_DASHES = ((6, 2), (2, 1.5), (7, 2, 1.5, 2), (10, 2.5), (4, 1.5, 1.5, 1.5, 1.5, 1.5))
"""Five patterns and seven colours: the first 35 baselines differ in one or the other."""

_SETTINGS: Any = {
    "font.family": "sans-serif",
    "font.sans-serif": "DejaVu Sans",  # what Matplotlib measures; the page sets its own
    "font.size": 8.5,
    "axes.titlesize": 9,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.labelcolor": "#333333",
    "axes.edgecolor": "#888888",
    "axes.linewidth": 0.8,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "axes.unicode_minus": True,
    "grid.color": "#E3E3E3",
    "grid.linewidth": 0.6,
    "xtick.color": "#555555",
    "ytick.color": "#555555",
    "xtick.labelcolor": "#333333",
    "ytick.labelcolor": "#333333",
    "legend.frameon": False,
    "legend.fontsize": 8,
    "lines.scale_dashes": False,
    "lines.solid_capstyle": "round",
    "path.simplify_threshold": 0.2,
    "svg.fonttype": "none",  # the reader's own font: small, sharp, and can be searched
}


class Line(NamedTuple):
    """How one optimizer is drawn, in figures and in legends."""

    color: str
    dashes: tuple[float, ...]
    """Lengths of strokes and gaps in points; () for a solid line."""
    width: float

    def kwargs(self) -> dict[str, Any]:
        """Keyword arguments of ``Axes.plot``."""
        pattern = (0, self.dashes) if self.dashes else "solid"
        return {"color": self.color, "linestyle": pattern, "linewidth": self.width}


def lines(learned: Sequence[str], baselines: Sequence[str]) -> dict[str, Line]:
    """A style for every optimizer: learned ones solid and heavy, baselines dashed and light."""
    found = {
        name: Line(_LEARNED_COLORS[i % len(_LEARNED_COLORS)], (), 2.2)
        for i, name in enumerate(learned)
    }
    for i, name in enumerate(baselines):
        color = _BASELINE_COLORS[i % len(_BASELINE_COLORS)]
        found[name] = Line(color, _BASELINE_DASHES[i % len(_BASELINE_DASHES)], 1.4)
    return found


@contextlib.contextmanager
def drawing() -> Iterator[None]:
    """Within it figures have the report's look."""
    with matplotlib.rc_context(_SETTINGS):
        yield
