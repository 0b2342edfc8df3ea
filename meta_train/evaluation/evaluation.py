"""What an evaluation came to: its numbers, its curves, and what they say."""

import csv
import dataclasses
import functools
import io
import json
import math
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float

from meta_train.evaluation import verdict
from meta_train.evaluation.store import write_atomically
from meta_train.evaluation.summary import FORMAT_VERSION, KIND
from meta_train.evaluation.verdict import Duel, Loss

SUMMARY, RESULTS = "summary.json", "results.csv"
CURVES = ("train_loss", "valid_loss", "valid_accuracy")
COLUMNS = ("task", "axis", "optimizer", "seed", "step", *CURVES)

Key = tuple[str, str, str]
"""Task, axis and optimizer."""


class Setting(NamedTuple):
    """A workload on record."""

    label: str
    axis: str
    """The change: "horizon x3"; "" for the task itself."""
    set: str
    """"held_out", "validation" or "meta_training"."""
    details: str = ""

    @property
    def held_out(self) -> bool:
        """Whether it is in the set that enters aggregates."""
        return self.set == "held_out"

    @property
    def title(self) -> str:
        """For people: the set is named unless it is held out."""
        words = f"{self.label}, {self.axis}" if self.axis else self.label
        return words if self.held_out else f"{words} ({self.set.replace('_', '-')} task)"


class Curve(NamedTuple):
    """One optimizer on one workload."""

    steps: np.ndarray
    """Inner steps taken. The training loss at a step is the mean since the step before it."""
    values: Float[np.ndarray, "seeds points"]
    """NaN where not finite."""


@dataclasses.dataclass(frozen=True)
class Verdict:
    """How one learned optimizer fared against the best baseline, by mean training loss.

    Attributes:
        optimizer: its name.
        duels: by setting, in the order of the suite.
        remarks: what else there is to say of each setting, for a line of text.
    """

    optimizer: str
    duels: Mapping[Setting, Duel]
    remarks: Mapping[Setting, str] = dataclasses.field(default_factory=dict)

    def of(self, settings: Sequence[Setting]) -> list[Duel]:
        """The duels of some settings."""
        return [self.duels[x] for x in settings]

    @property
    def lines(self) -> list[str]:
        """A sentence for every setting."""
        return [f"{duel}{self.remarks.get(x, '')}" for x, duel in self.duels.items()]

    def __str__(self) -> str:
        return "\n".join(self.lines)


@dataclasses.dataclass(frozen=True, eq=False)
class Evaluation:
    """A finished evaluation; ``meta_train.evaluation.summary`` says what its numbers mean.

    Attributes:
        summary: what summary.json holds. Numbers that are not measured or not finite are None.
        curves: by column of results.csv, then by task, axis and optimizer.
        remarks: what could not be read.
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
        return [_setting(x) for x in self.rows("tasks")]

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
        return Verdict(optimizer, duels, {x: _speed(row) for x, row in rows.items()})

    def table(self) -> Any:
        """Every optimizer on every workload, a table that ``rich.print`` shows."""
        from meta_train.evaluation import tables  # imports this module

        return tables.losses(self)

    def aggregate(self) -> Any:
        """Likewise all held-out tasks together, by ratios to the reference, and costs."""
        from meta_train.evaluation import tables

        return tables.aggregate(self)

    def comparisons(self) -> Any:
        """Likewise each learned optimizer against each other one, over all held-out tasks."""
        from meta_train.evaluation import tables

        return tables.comparisons(self.rows("comparisons"))

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
        write_atomically(Path(folder) / RESULTS, text.getvalue().encode())
        content = json.dumps(self.summary, indent=2, allow_nan=False) + "\n"
        write_atomically(Path(folder) / SUMMARY, content.encode())

    @classmethod
    def load(cls, folder: str | os.PathLike[str]) -> "Evaluation":
        """Read what ``save`` has written; a remark is made of curves that cannot be read.

        Raises:
            ValueError: summary.json is missing, damaged or of another format.
        """
        remarks: list[str] = []
        summary = _read_summary(Path(folder) / SUMMARY)
        curves = _read_curves(Path(folder) / RESULTS, remarks)
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


def _speed(row: Mapping[str, Any]) -> str:
    """When it comes to the target, and how often it diverges, in words that follow others."""
    words, goal = "", f"the final loss of {row.get('target_optimizer')}"
    if row.get("target") is not None and row.get("steps_to_target") is None:
        words = f"; never at {goal}"
    elif row.get("speedup") is not None and row.get("speedup_seconds") is not None:
        words = f"; at {goal} {row['speedup']:.2f} x as fast in steps"
        words += f", {row['speedup_seconds']:.2f} x in time"
    if row.get("diverged"):
        words += f"; {100 * row['diverged']:.0f} % of the runs diverged"
    return words


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


def _read_summary(path: Path) -> dict[str, Any]:
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
