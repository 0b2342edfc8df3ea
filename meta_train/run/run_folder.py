"""The files of a run in its work folder, and how they are read in whatever state they are."""

import json
import math
from typing import Any, NamedTuple

import numpy as np
from etils import epath

from checkpoints import DamagedError, Store
from meta_train.evaluation import Evaluation
from meta_train.evaluation.evaluation import SUMMARY
from meta_train.run.records import METRICS
from meta_train.run.start import CHECKPOINTS

CONFIG = "config.json"
COMPARISON = "comparison"
"""Folder of the evaluation that ends a run."""
BUNDLE = "bundle"
"""Folder of what a run has meta-trained, with the lowest meta-validation."""
FINISHED = "finished.json"
"""Written last; holds the number of meta-steps after which the run was finished."""


class Series(NamedTuple):
    """One column of metrics.jsonl."""

    steps: np.ndarray
    """Meta-steps."""
    values: np.ndarray
    """NaN where a value was not finite."""


class RunFolder(NamedTuple):
    """What a work folder holds."""

    folder: epath.Path
    config: dict[str, Any]
    records: list[dict[str, Any]]
    """The records of metrics.jsonl that can be read, in the order of meta-steps."""
    comparison: Evaluation | None
    """The evaluation that ended the run; None before that."""
    finished: int | None
    """Meta-steps after which the run was finished."""
    remarks: list[str]
    """What could not be read."""

    def versions(self) -> Any:
        """Versions of packages that its newest readable checkpoint was written by."""
        store = Store(self.folder / CHECKPOINTS)
        for number in reversed(store.numbers()):
            try:
                return store.read(number).metadata.get("versions")
            except DamagedError:
                continue
        return None

    def series(self, name: str) -> Series:
        """A column of the records, where it was recorded."""
        points = [(x["meta_step"], number(x[name])) for x in self.records if name in x]
        steps, values = zip(*points, strict=True) if points else ((), ())
        return Series(np.asarray(steps, np.int64), np.asarray(values, np.float64))


def is_run(folder: epath.PathLike) -> bool:
    """Whether a meta-training run has been started in a folder."""
    folder = epath.Path(folder)
    return (folder / METRICS).exists() or (folder / CHECKPOINTS).is_dir()


def finished_steps(folder: epath.PathLike) -> int | None:
    """Meta-steps after which the run in ``folder`` was finished; None where it was not."""
    try:
        return int(json.loads((epath.Path(folder) / FINISHED).read_bytes())["meta_steps"])
    except (OSError, ValueError, TypeError, KeyError):
        return None


def read(folder: epath.PathLike) -> RunFolder:
    """Read everything but the bundle; what is damaged is left out and remarked upon."""
    folder, remarks = epath.Path(folder), list[str]()
    config = read_json(folder / CONFIG, dict, remarks) or {}
    comparison = _read_comparison(folder / COMPARISON, remarks)
    records = _read_records(folder / METRICS, remarks)
    return RunFolder(folder, config, records, comparison, finished_steps(folder), remarks)


def number(value: Any) -> float:
    """A number from JSON; NaN for null and for what is none."""
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    return float(value) if is_number else math.nan


def read_json(path: epath.Path, kind: type, remarks: list[str]) -> Any:
    """The value in a file; None where it is missing, or, with a remark, where it is another one."""
    try:
        value = json.loads(path.read_bytes())
    except FileNotFoundError:
        return None
    except (OSError, ValueError, RecursionError) as error:
        remarks.append(f"{path.name} cannot be read and is left out: {error}")
        return None
    if not isinstance(value, kind):
        remarks.append(f"{path.name} is left out: it holds no {kind.__name__}")
        return None
    return value


def _read_comparison(folder: epath.Path, remarks: list[str]) -> Evaluation | None:
    if not (folder / SUMMARY).exists():
        return None
    try:
        found = Evaluation.load(folder)
    except ValueError as error:
        remarks.append(f"the comparison is left out: {error}")
        return None
    remarks += found.remarks
    return found


def _read_records(path: epath.Path, remarks: list[str]) -> list[dict[str, Any]]:
    text = path.read_bytes().decode(errors="replace") if path.exists() else ""
    lines = text.splitlines()
    read = [_record(line) for line in lines]
    records = [x for x in read if x is not None]
    if len(records) < len(lines):
        remarks.append(
            f"{len(lines) - len(records)} of {len(lines)} lines of {path.name} cannot be read and "
            "are left out"
        )
    return sorted(records, key=lambda x: x["meta_step"])


def _record(line: str) -> dict[str, Any] | None:
    try:
        value = json.loads(line)
    except (ValueError, RecursionError):
        return None
    good = isinstance(value, dict) and isinstance(value.get("meta_step"), int)
    return value if good else None
