"""What an evaluation came to: its numbers, its curves, and what they say."""

import csv
import dataclasses
import functools
import io
import json
import math
import os
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, NamedTuple

import numpy as np
from etils import epath
from jaxtyping import Float

from meta_train.evaluation import verdict
from meta_train.evaluation.costs import measure_costs
from meta_train.evaluation.optimizers import Optimizer
from meta_train.evaluation.result_store import write_atomically
from meta_train.evaluation.summary import FORMAT_VERSION, KIND
from meta_train.evaluation.verdict import Loss, Verdict
from meta_train.evaluation.workload import Setting

SUMMARY, RESULTS = "summary.json", "results.csv"
CURVES = ("train_loss", "valid_loss", "valid_accuracy")
COLUMNS = ("task", "axis", "optimizer", "seed", "step", *CURVES)

Key = tuple[str, str, str]
"""Task, axis and optimizer."""


class Curve(NamedTuple):
    """One optimizer on one workload."""

    steps: np.ndarray
    """Inner steps taken. The training loss at a step is the mean since the step before it."""
    values: Float[np.ndarray, "seeds points"]
    """NaN where not finite."""


@dataclasses.dataclass(frozen=True, eq=False)
class Evaluation:
    """A finished evaluation; ``meta_train.evaluation.summary`` says what its numbers mean.

    Attributes:
        summary: the content of summary.json. Numbers that are not known or not finite are None.
        curves: curves by column of results.csv, then by task, axis and optimizer.
        remarks: sentences about what could not be read.
    """

    summary: Mapping[str, Any]
    curves: Mapping[str, Mapping[Key, Curve]] = dataclasses.field(
        default_factory=lambda: {name: {} for name in CURVES}
    )
    remarks: tuple[str, ...] = ()

    def rows(self, section: str) -> list[dict[str, Any]]:
        """The objects of one of the summary's lists."""
        found = self.summary.get(section)
        return [x for x in found if isinstance(x, dict)] if isinstance(found, list) else []

    def value(self, setting: Setting, optimizer: str, measure: str) -> float | None:
        """One number of ``measures``; None where there is none."""
        row = self.measures.get((setting.label, setting.axis, optimizer), {})
        found = row.get(measure)
        if not isinstance(found, int | float) or isinstance(found, bool):
            return None
        return float(found) if math.isfinite(found) else None

    @functools.cached_property
    def measures(self) -> dict[Key, dict[str, Any]]:
        """The rows of ``measures``."""
        return {_key(x): x for x in self.rows("measures")}

    @functools.cached_property
    def settings(self) -> list[Setting]:
        """The workloads, in the order of the suite."""
        return [Setting.of(x) for x in self.rows("tasks")]

    @property
    def learned(self) -> list[str]:
        """Names of the learned optimizers with nothing tuned, which verdicts are about."""
        return self._of_kind("learned")

    @property
    def tuned(self) -> list[str]:
        """Learned optimizers with a tuned multiplier: they are shown, and no verdict is on them."""
        return self._of_kind("learned, tuned")

    @property
    def baselines(self) -> list[str]:
        """All others."""
        known = {*self.learned, *self.tuned}
        return [str(x.get("name")) for x in self.rows("optimizers") if x.get("name") not in known]

    @property
    def optimizers(self) -> list[str]:
        """All of them, the learned ones first."""
        return [*self.learned, *self.tuned, *self.baselines]

    def verdict(self, optimizer: str) -> Verdict:
        """How a learned optimizer fared; the one source of all that is said about it.

        Raises:
            KeyError: no learned optimizer has that name.
        """
        if optimizer not in self.learned:
            raise KeyError(
                f"{optimizer!r} is none of {', '.join(self.learned) or 'no learned one'}"
            )

        def loss(setting: Setting, name: str) -> Loss:
            numbers = {x: self.value(setting, name, x) for x in ("mean_loss", "std_error")}
            return Loss.of({"optimizer": name, **numbers})

        duels = {
            x: verdict.duel(x.title, loss(x, optimizer), [loss(x, y) for y in self.baselines])
            for x in self.settings
        }
        rows = {x: self.measures.get((x.label, x.axis, optimizer), {}) for x in self.settings}
        return Verdict(optimizer, duels, {x: verdict.remark(row) for x, row in rows.items()})

    def table(self) -> Any:
        """Every optimizer on every workload, a table that ``rich.print`` shows."""
        from meta_train.evaluation import terminal_tables  # imports this module

        return terminal_tables.losses(self)

    def aggregate(self) -> Any:
        """A table of all held-out tasks together, by ratios to the reference, and of costs."""
        from meta_train.evaluation import terminal_tables

        return terminal_tables.aggregate(self)

    def comparisons(self) -> Any:
        """A table of each learned optimizer against each other one, over all held-out tasks."""
        from meta_train.evaluation import terminal_tables

        return terminal_tables.comparisons(self.rows("comparisons"))

    def with_costs(self, optimizers: Iterable[Optimizer]) -> "Evaluation":
        """The same with what one update of each optimizer costs, which is measured now."""
        costs = {"costs": measure_costs(optimizers)}
        return dataclasses.replace(self, summary={**self.summary, **costs})

    def save(self, folder: str | os.PathLike[str]) -> None:
        """Write results.csv and then, as the sign that all is there, summary.json.

        Raises:
            OSError: they cannot be written.
        """
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow(COLUMNS)
        for key in self.curves["train_loss"]:
            writer.writerows(self._table(key))
        write_atomically(epath.Path(folder) / RESULTS, text.getvalue().encode())
        content = json.dumps(self.summary, indent=2, allow_nan=False) + "\n"
        write_atomically(epath.Path(folder) / SUMMARY, content.encode())

    @classmethod
    def load(cls, folder: str | os.PathLike[str]) -> "Evaluation":
        """Read what ``save`` has written; a remark is made of curves that cannot be read.

        Raises:
            ValueError: summary.json is missing, damaged or of another format.
        """
        remarks: list[str] = []
        summary = _read_summary(epath.Path(folder) / SUMMARY)
        curves = _read_curves(epath.Path(folder) / RESULTS, remarks)
        return cls(summary, curves, tuple(remarks))

    def _of_kind(self, kind: str) -> list[str]:
        return [str(x.get("name")) for x in self.rows("optimizers") if x.get("kind") == kind]

    def _table(self, key: Key) -> Iterator[tuple]:
        """A row per seed and recorded point; before the first step there is no validation."""
        found = {name: curves[key] for name, curves in self.curves.items() if key in curves}
        by_step = {
            name: dict(zip(curve.steps.tolist(), curve.values.T, strict=True))
            for name, curve in found.items()
        }
        for seed in range(len(found["train_loss"].values)):
            for step in by_step["train_loss"]:
                cells = (by_step.get(name, {}).get(step) for name in CURVES)
                yield (*key, seed, step, *("" if x is None else f"{x[seed]:.6g}" for x in cells))


def _key(row: Mapping[str, Any]) -> Key:
    return str(row.get("task")), str(row.get("axis") or ""), str(row.get("optimizer"))


def _read_summary(path: epath.Path) -> dict[str, Any]:
    try:
        summary = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise ValueError(
            f"{path} cannot be read ({error}); run lopt evaluate with this --workdir again"
        ) from error
    if not isinstance(summary, dict) or summary.get("kind") != KIND:
        raise ValueError(f"{path} is no summary of lopt evaluate: it lacks kind = {KIND!r}")
    if summary.get("format_version") != FORMAT_VERSION:
        raise ValueError(
            f"{path} has format version {summary.get('format_version')!r}, but this lopt reads "
            f"version {FORMAT_VERSION}; use the release that wrote it, or evaluate again"
        )
    return summary


def _read_curves(path: epath.Path, remarks: list[str]) -> dict[str, dict[Key, Curve]]:
    points: dict[str, dict[Key, dict[tuple[str, int], float]]] = {name: {} for name in CURVES}
    bad = 0
    try:
        for row in csv.DictReader(io.StringIO(path.read_bytes().decode(), newline="")):
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
