"""Reading the folder of an evaluation: summary.json, results.csv and config.json."""

import csv
import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float

from launch import errors, workdir

SUMMARY, RESULTS = "summary.json", "results.csv"
KIND, FORMAT_VERSION = "lopt-evaluation", 1
CURVES = ("train_loss", "valid_loss", "valid_accuracy")
"""Columns of results.csv that are drawn."""

Key = tuple[str, str, str]
"""Task, axis and optimizer."""


class Setting(NamedTuple):
    """A task, or a change of one."""

    label: str
    axis: str
    """The change: "horizon x3"; "" for the task itself."""
    set: str
    """"held_out", "validation" or "meta_training"."""
    details: str

    @property
    def held_out(self) -> bool:
        return self.set == "held_out"

    @property
    def title(self) -> str:
        words = f"{self.label}, {self.axis}" if self.axis else self.label
        return words if self.held_out else f"{words} ({self.set.replace('_', '-')} task)"


class Curve(NamedTuple):
    """One optimizer in one setting."""

    steps: np.ndarray
    """Inner steps taken."""
    values: Float[np.ndarray, "seeds points"]
    """NaN where not finite."""


class Evaluation(NamedTuple):
    """What the folder holds. Numbers of JSON that are null stay None."""

    folder: Path
    config: dict[str, Any]
    summary: dict[str, Any]
    learned: list[str]
    tuned: list[str]
    """Learned optimizers with a tuned multiplier: they are shown, but nothing is said of them."""
    baselines: list[str]
    settings: list[Setting]
    measures: dict[Key, dict[str, Any]]
    curves: dict[str, dict[Key, Curve]]
    """By column of results.csv."""
    remarks: list[str]

    @property
    def optimizers(self) -> list[str]:
        """Learned ones first."""
        return [*self.learned, *self.tuned, *self.baselines]

    def rows(self, section: str) -> list[dict[str, Any]]:
        """The objects of one of the summary's lists."""
        return _rows(self.summary, section)

    def value(self, setting: Setting, optimizer: str, measure: str) -> float | None:
        """One number of ``measures``; None where there is none."""
        found = self.measures.get((setting.label, setting.axis, optimizer), {}).get(measure)
        if not isinstance(found, int | float) or isinstance(found, bool):
            return None
        return float(found) if math.isfinite(found) else None


def is_evaluation(folder: Path) -> bool:
    """Whether an evaluation was finished in a folder."""
    return (folder / SUMMARY).exists()


def read(folder: Path) -> Evaluation:
    """Read an evaluation; curves and config that cannot be read are left out and remarked upon.

    Raises:
        UserError: summary.json is damaged or of another format.
    """
    summary = read_summary(folder / SUMMARY)
    remarks: list[str] = []
    kinds = {str(x.get("name")): x.get("kind") for x in _rows(summary, "optimizers")}
    measures = _rows(summary, "measures")
    return Evaluation(
        folder=folder,
        config=_read_config(folder / workdir.CONFIG, remarks),
        summary=summary,
        learned=[name for name, kind in kinds.items() if kind == "learned"],
        tuned=[name for name, kind in kinds.items() if kind == "learned, tuned"],
        baselines=[
            name for name, kind in kinds.items() if kind not in ("learned", "learned, tuned")
        ],
        settings=[_setting(x) for x in _rows(summary, "tasks")],
        measures={_key(x): x for x in measures},
        curves=_read_curves(folder / RESULTS, remarks),
        remarks=remarks,
    )


def _rows(summary: Mapping[str, Any], section: str) -> list[dict[str, Any]]:
    rows = summary.get(section)
    return [row for row in rows if isinstance(row, dict)] if isinstance(rows, list) else []


def _key(row: Mapping[str, Any]) -> Key:
    return str(row.get("task")), str(row.get("axis") or ""), str(row.get("optimizer"))


def read_summary(path: Path) -> dict[str, Any]:
    """The content of summary.json, its kind and format version checked.

    Raises:
        UserError: it is damaged or of another format.
    """
    try:
        summary = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise errors.UserError(
            f"{path} cannot be read ({error}); run lopt evaluate with this --workdir again"
        ) from error
    if not isinstance(summary, dict) or summary.get("kind") != KIND:
        raise errors.UserError(f"{path} is no summary of lopt evaluate: it lacks kind = {KIND!r}")
    if summary.get("format_version") != FORMAT_VERSION:
        raise errors.UserError(
            f"{path} has format version {summary.get('format_version')!r}, but this lopt reads "
            f"version {FORMAT_VERSION}; use the release that wrote it, or evaluate again"
        )
    return summary


def _read_config(path: Path, remarks: list[str]) -> dict[str, Any]:
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        remarks.append(f"{path.name} cannot be read and is left out: {error}")
        return {}
    return config if isinstance(config, dict) else {}


def _setting(row: Mapping[str, Any]) -> Setting:
    fields = row.get("fields") if isinstance(row.get("fields"), dict) else {}
    parts = [str(row.get("name") or "")]
    parts += [f"{name} = {json.dumps(value)}" for name, value in (fields or {}).items()]
    for field, noun in (("num_params", "parameters"), ("num_steps", "inner steps")):
        count = row.get(field)
        parts += [f"{count:,} {noun}"] if isinstance(count, int) else []
    details = ", ".join(part for part in parts if part)
    # Before there were three sets, what was not held out was meta-trained on.
    before = "meta_training" if row.get("held_out") is False else "held_out"
    set_ = str(row.get("set") or before)
    return Setting(str(row.get("label")), str(row.get("axis") or ""), set_, details)


def _read_curves(path: Path, remarks: list[str]) -> dict[str, dict[Key, Curve]]:
    points: dict[str, dict[Key, dict[tuple[str, int], float]]] = {name: {} for name in CURVES}
    bad = 0
    try:
        with path.open(encoding="utf-8", newline="") as file:
            for row in csv.DictReader(file):
                try:
                    place = (row["seed"], int(row["step"]))
                    numbers = {name: float(row[name]) for name in CURVES if row[name]}
                except (KeyError, TypeError, ValueError):
                    bad += 1
                    continue
                for name, value in numbers.items():
                    points[name].setdefault(_key(row), {})[place] = value
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        remarks.append(f"{path.name} cannot be read, so there are no curves: {error}")
    if bad:
        remarks.append(f"{bad} rows of {path.name} cannot be read and are left out")
    return {name: {key: _curve(x) for key, x in found.items()} for name, found in points.items()}


def _curve(points: Mapping[tuple[str, int], float]) -> Curve:
    seeds = {seed: i for i, seed in enumerate(dict.fromkeys(seed for seed, _ in points))}
    steps = sorted({step for _, step in points})
    columns = {step: i for i, step in enumerate(steps)}
    values = np.full((len(seeds), len(steps)), np.nan)
    for (seed, step), value in points.items():
        if math.isfinite(value):
            values[seeds[seed], columns[step]] = value
    return Curve(np.asarray(steps), values)
