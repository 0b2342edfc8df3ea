"""Curves of values over meta-steps: as plain numbers, and drawn."""

from collections.abc import Collection, Sequence
from typing import Any

import numpy as np

from meta_train.figures import panels
from meta_train.figures.panels import Band, Panel
from meta_train.figures.styles import (
    BLACK,
    BLUE,
    BROWN,
    GREEN,
    GREY,
    ORANGE,
    PURPLE,
    SKY,
    VERMILLION,
    Line,
)

_COLORS = (BLUE, BLACK, GREEN, PURPLE, VERMILLION, ORANGE, SKY, BROWN, GREY)
_DASHES = ((6, 2), (2, 1.5), (7, 2, 1.5, 2), (10, 2.5))
_HIGHEST = 1e6
"""Values above are not drawn."""

Curves = dict[str, np.ndarray]
"""Values, such as losses, by method [seeds, points]."""


def plain(numbers: Any) -> Any:
    """Numbers as nested lists for JSON, with None for those that are not finite."""
    found = np.asarray(numbers, np.float64).astype(object)
    found[~np.isfinite(found.astype(np.float64))] = None
    return found.tolist()


def numbers(plain: Any) -> np.ndarray:
    """The inverse of ``plain``; what was not finite is NaN."""
    return np.asarray(plain, np.float64)


def lines(methods: Sequence[str], solid: Collection[str], width: float = 2.0) -> dict[str, Line]:
    """A style for every method, each of another colour: those in ``solid`` without dashes."""
    dashed = [method for method in methods if method not in solid]
    return {
        method: Line(
            _COLORS[i % len(_COLORS)],
            () if method in solid else _DASHES[dashed.index(method) % len(_DASHES)],
            width,
        )
        for i, method in enumerate(methods)
    }


def draw(
    name: str,
    values: Curves,
    steps: np.ndarray,
    measure: str,
    solid: Collection[str],
    over: str = "meta-steps",
) -> Panel:
    """Medians over seeds, with bands from the lowest to the highest.

    The axis is logarithmic where all values are above 0 and span a decade; then those that are not
    finite or too high are drawn at its upper end.

    Args:
        name: of the figure.
        values: by method.
        steps: at which they are.
        measure: what a value is.
        solid: methods whose lines are drawn solid.
        over: what the steps are.
    """
    figure, axes = panels.new(name.replace("_", " "), over, measure, 7.0, 4.0)
    finite = np.concatenate([rows[np.isfinite(rows)] for rows in values.values()])
    low, high = (finite.min(), min(finite.max(), _HIGHEST)) if finite.size else (0.0, 0.0)
    logarithmic = low > 0 and high > 10 * low
    bands = {}
    for label, rows in values.items():
        rows = np.where(np.isfinite(rows), np.minimum(rows, high), high if logarithmic else np.nan)
        bands[label] = Band(steps, np.median(rows, axis=0), rows.min(axis=0), rows.max(axis=0))
    panels.bands(axes, bands, lines(list(values), solid))
    if logarithmic:
        panels.set_log(axes, low / 1.5, high * 1.5)
    axes.legend(loc="upper left", bbox_to_anchor=(1.0, 1.0))
    return Panel(figure, name, f"{measure} over {over}: {', '.join(values)}")
