"""The page about an experiment: what stands in it."""

import csv
from collections.abc import Mapping
from typing import Any, NamedTuple

from etils import epath

from meta_train.evaluation.sentences import form
from meta_train.experiments import EXPERIMENTS
from meta_train.figures import svg
from meta_train.report import page_tables
from meta_train.report.page_tables import Cell, Table

RESULTS = "results.csv"
_LONGEST = 60
"""Rows of a table that are shown in full."""


class Figure(NamedTuple):
    """A figure of the folder's, which stands in a page as a ``Panel`` does."""

    folder: epath.Path
    name: str
    label: str
    svg: str
    caption: str = ""

    def save(self, folder: epath.Path) -> None:
        """Copy its PNG and PDF."""
        for kind in ("png", "pdf"):
            name = f"{self.name}.{kind}"
            (self.folder / name).copy(folder / name, overwrite=True)


def content(summary: Mapping[str, Any], folder: epath.Path) -> dict[str, Any]:
    """What the template shows.

    Args:
        summary: the content of summary.json, see ``meta_train.experiments.run``.
        folder: where it is, with the figures and results.csv.
    """
    name, remarks = str(summary["experiment"]), list[str]()
    findings = _rows(summary, "expected")
    held = sum(x.get("holds") is True for x in findings)
    known = EXPERIMENTS.get(name)
    about = {k: v for k, v in summary.items() if not isinstance(v, list) and k != "experiment"}
    return {
        "title": f"Experiment {name}",
        "about": f"{known.summary[0].upper()}{known.summary[1:]}." if known else "",
        "verdict": f"{held} of {len(findings)} as expected.",
        "findings": findings,
        "figures": _figures(summary, folder, remarks),
        "results": _results(folder / RESULTS, remarks),
        "parts_table": _parts(summary),
        "environment": page_tables.facts(about),
        "remarks": remarks,
    }


def _rows(summary: Mapping[str, Any], section: str) -> list[dict[str, Any]]:
    found = summary.get(section)
    return [x for x in found if isinstance(x, dict)] if isinstance(found, list) else []


def _figures(summary: Mapping[str, Any], folder: epath.Path, remarks: list[str]) -> list[Figure]:
    made = []
    for entry in _rows(summary, "figures"):
        name, label = str(entry.get("name")), str(entry.get("label"))
        try:
            drawn = svg.embedded((folder / f"{name}.svg").read_bytes(), name, label)
        except (OSError, ValueError) as error:
            remarks.append(f"{name}.svg is left out: {error}; lopt reproduce draws it again")
        else:
            made.append(Figure(folder, name, label, drawn))
    return made


def _results(path: epath.Path, remarks: list[str]) -> Table | None:
    """The rows of the tidy table; of a long one the last of each method and seed."""
    try:
        head, *rows = csv.reader(path.read_text(encoding="utf-8").splitlines())
    except (OSError, ValueError) as error:
        remarks.append(f"{path.name} is left out: {error}")
        return None
    caption = f"All rows of {path.name}."
    if len(rows) > _LONGEST:
        places = [i for i, column in enumerate(head) if column in ("method", "seed")]
        caption = f"The last of the {len(rows):,} rows of {path.name} for each method and seed."
        rows = list({tuple(row[i] for i in places): row for row in rows}.values())
    texts = sum(column in ("experiment", "sequence", "method") for column in head)
    return Table(caption, head[1:], [[*map(Cell, row[1:])] for row in rows], texts - 1)


def _parts(summary: Mapping[str, Any]) -> Table:
    rows = [
        [
            Cell(str(entry.get("label"))),
            Cell(str(entry.get("found"))),
            Cell(form(entry.get("seconds"), ",.1f")),
        ]
        for entry in _rows(summary, "parts")
    ]
    caption = "What was computed, one after the other, and the seconds that it took."
    return Table(caption, ("part", "found", "seconds"), rows)
