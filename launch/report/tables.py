"""Tables as plain data, for the templates."""

import json
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

ABSENT = "\N{EN DASH}"
"""Shown where a number was not measured or is not finite."""


class Cell(NamedTuple):
    """One cell."""

    text: str
    best: bool = False


class Table(NamedTuple):
    """A table with a heading over each column."""

    caption: str
    head: Sequence[str]
    rows: Sequence[Sequence[Cell]]
    texts: int = 1
    """The first so many columns hold words, the others numbers."""


def form(value: Any, spec: str = ".4g") -> str:
    """A number in words; ``ABSENT`` for None, NaN, infinities and what is no number."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        return ABSENT
    return format(value, spec)


def brief(value: Any) -> str:
    """A number whose error is shown beside it."""
    return form(value, ".3g")


def percent(value: Any, spec: str = ".1f") -> str:
    """A fraction as a percentage."""
    return form(100 * value, spec) + " %" if form(value) != ABSENT else ABSENT


def rate(value: Any) -> str:
    """A fraction of a few runs as a percentage."""
    return percent(value, ".0f")


def whole(value: Any) -> str:
    """A number without decimals."""
    return form(value, ",.0f")


def factor(value: Any) -> str:
    """A ratio."""
    return form(value, ".2f")


def nan(value: float | None) -> float:
    """NaN in place of None."""
    return math.nan if value is None else value


def row(*cells: Any) -> list[Cell]:
    """A row of words and numbers."""
    return [Cell(cell if isinstance(cell, str) else form(cell)) for cell in cells]


def grid(
    caption: str,
    corner: str,
    columns: Sequence[str],
    rows: Mapping[str, Sequence[float | None]],
    *,
    best: Callable[[Sequence[float]], float] | None = None,
    write: Callable[[Any], str] = form,
    errors: Mapping[str, Sequence[float | None]] | None = None,
) -> Table:
    """A table of one number for every row and column.

    Args:
        caption: what the numbers are.
        corner: heading over the names of the rows.
        columns: headings of the numbers.
        rows: numbers by the name of the row.
        best: of the finite numbers of a row, the one to be marked: ``min`` or ``max``.
        write: number -> text.
        errors: standard errors of the numbers, in the same order.
    """

    def line(name: str, values: Sequence[float | None]) -> list[Cell]:
        finite = [x for x in values if x is not None and math.isfinite(x)]
        chosen = best(finite) if best and finite else None
        words = [write(x) for x in values]
        if errors:
            words = [with_error(x, error) for x, error in zip(words, errors[name], strict=True)]
        marks = [chosen is not None and x == chosen for x in values]
        return [Cell(name), *map(Cell, words, marks)]

    return Table(caption, [corner, *columns], [line(*item) for item in rows.items()])


def with_error(words: str, error: Any) -> str:
    """A number in words and its standard error."""
    return words if form(error) == ABSENT else f"{words} ± {form(error, '.1g')}"


def fields(values: Mapping[str, Any]) -> str:
    """Fields as one line: "hidden = [32, 32], step_mult = 0.03"."""
    return ", ".join(f"{name} = {plain(value)}" for name, value in values.items())


def named(section: Any) -> str:
    """A section of a config that has a ``name``: "pes: std = 0.01, horizon = 1000"."""
    if not isinstance(section, Mapping):
        return ""
    rest = {name: value for name, value in section.items() if name != "name"}
    return f"{plain(section.get('name'))}: {fields(rest)}"


def plain(value: Any) -> str:
    """A value of a config as text; strings stand for themselves."""
    if isinstance(value, str):
        return value
    if isinstance(value, float):
        return f"{value:.6g}"
    return json.dumps(value, default=str)


def flat(values: Mapping[str, Any], path: str = "") -> dict[str, Any]:
    """Nested fields by their path: {"estimator.std": 0.01}."""
    found: dict[str, Any] = {}
    for name, value in values.items():
        where = f"{path}.{name}" if path else name
        found |= flat(value, where) if isinstance(value, Mapping) and value else {where: value}
    return found


def facts(values: Mapping[str, Any]) -> dict[str, str]:
    """Nested fields as words by path, without those that hold nothing."""
    return {name: plain(value) for name, value in flat(values).items() if value not in (None, {})}
