"""What a run writes down: metrics.jsonl and events, fetched one dispatch late."""

import json
import math
import os
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from launch.appending import AppendedFile
from launch.progress import ProgressDisplay
from launch.workdir import EVENTS, METRICS
from launch.writer import MetricWriter


class Recorder:
    """Turns the records of dispatches into lines of metrics.jsonl, events and progress.

    A dispatch is fetched when the one after it has been handed to the device, so that the device
    never waits for the host.

    Args:
        folder: work folder; receives metrics.jsonl.
        writer: receives the same numbers.
        progress: shows the newest record.
        meta_steps: length of the run.
        every_steps: meta-steps whose number it divides are written down, and the last.
        started: ``time.monotonic()`` of the start of the run.
        snapshot: of the checkpoint that the run goes on from, if it does.
    """

    def __init__(
        self,
        folder: Path,
        writer: MetricWriter,
        progress: ProgressDisplay,
        meta_steps: int,
        every_steps: int,
        started: float,
        snapshot: Mapping[str, Any] | None = None,
    ) -> None:
        before = snapshot or {}
        self._folder = folder
        self._file = AppendedFile(folder / METRICS)
        self._writer = writer
        self._progress = progress
        self._meta_steps = meta_steps
        self._every_steps = every_steps
        self._started = started - before.get("seconds", 0.0)
        self._clock = time.monotonic()
        self._training_seconds = 0.0
        self._timed_steps = 0
        self._compiled = False
        self._inner_steps = before.get("inner_steps", 0)
        self._diverged = before.get("diverged", 0)
        self._skipped = before.get("skipped", 0)
        self._disk_failed = False
        self._pending: tuple[int, Mapping[str, Any]] | None = None
        self.bad_in_a_row = before.get("bad_in_a_row", 0)
        """Newest meta-steps that were skipped one after the other."""
        self.meta_loss: float | None = before.get("meta_loss")
        """Of the newest meta-step that was written down."""

    def snapshot(self) -> dict[str, Any]:
        """What a checkpoint keeps, as JSON; everything that was pushed must be flushed."""
        self._try(self._writer.flush)
        return {
            "files": {METRICS: self._file.size, **event_sizes(self._folder)},
            "seconds": self._seconds(),
            "inner_steps": self._inner_steps,
            "diverged": self._diverged,
            "skipped": self._skipped,
            "bad_in_a_row": self.bad_in_a_row,
            "meta_loss": self.meta_loss,
        }

    def message(self, text: str) -> None:
        """Show a line that stays."""
        self._progress.message(text)

    def push(self, last_step: int, records: Mapping[str, Any]) -> None:
        """Take the records of a dispatch, and write down those of the one before.

        Args:
            last_step: number of the last meta-step of the dispatch; the first of a run is 1.
            records: device arrays with a leading axis of meta-steps.
        """
        pending, self._pending = self._pending, (last_step, records)
        if pending is not None:
            self._write_dispatch(*pending)

    def flush(self) -> None:
        """Wait for the newest dispatch and write it down."""
        pending, self._pending = self._pending, None
        if pending is not None:
            self._write_dispatch(*pending)

    def validation(self, meta_step: int, loss: float, best: bool) -> None:
        """Write a meta-validation down; the time it took does not count as training."""
        self._write({"meta_step": meta_step, "meta_valid_loss": loss, "seconds": self._seconds()})
        mark = ", the best so far" if best else ""
        self.message(
            f"meta-step {meta_step}  meta-validation: mean loss {loss:.4f} on fresh seeds{mark}"
        )
        self._clock = time.monotonic()

    def close(self) -> None:
        """Close metrics.jsonl; what was not flushed is left out."""
        self._try(self._file.flush)
        self._file.close()

    def _write_dispatch(self, last_step: int, records: Mapping[str, Any]) -> None:
        arrays = {name: np.asarray(values) for name, values in records.items()}
        count = len(arrays["meta_loss"])
        elapsed = self._lap()
        if self._compiled:  # the first dispatch includes compilation and tells nothing
            self._training_seconds += elapsed
            self._timed_steps += count
        self._compiled = True
        record: dict[str, float] = {}
        for i in range(count):
            meta_step = last_step - count + 1 + i
            numbers = {name: values[i].item() for name, values in arrays.items()}
            self._inner_steps += int(numbers.get("inner_steps", 0))
            self._diverged += int(numbers.get("diverged", 0))
            self._count_bad(int(numbers.get("skipped", 0)))
            record = self._record(meta_step, numbers, elapsed / count)
            if meta_step % self._every_steps == 0 or meta_step == self._meta_steps:
                self._write(record)
        self.meta_loss = record["meta_loss"] if math.isfinite(record["meta_loss"]) else None
        counts = {"diverged": self._diverged, "skipped": self._skipped}
        self._progress.update(record, counts, self._seconds_left(last_step))

    def _count_bad(self, skipped: int) -> None:
        self._skipped += skipped
        self.bad_in_a_row = self.bad_in_a_row + 1 if skipped else 0

    def _record(
        self, meta_step: int, numbers: dict[str, float], seconds_per_step: float
    ) -> dict[str, float]:
        inner_steps = numbers.pop("inner_steps", math.nan)
        return {
            "meta_step": meta_step,
            "snr": math.nan,
            "diverged": 0,
            **numbers,
            "inner_steps_per_s": inner_steps / seconds_per_step,
            "seconds": self._seconds(),
        }

    def _write(self, record: Mapping[str, float]) -> None:
        finite = {name: value for name, value in record.items() if math.isfinite(value)}
        self._try(self._file.append, json.dumps({**dict.fromkeys(record), **finite}))
        self._try(self._writer.write_scalars, int(finite.pop("meta_step")), finite)

    def _try(self, write: Callable[..., Any], *arguments: Any) -> None:
        """Write; a full disk is reported once, and does not end the run."""
        try:
            write(*arguments)
        except OSError as error:
            if not self._disk_failed:
                self.message(
                    f"records cannot be written ({error.strerror}); training goes on, and "
                    f"{METRICS} is completed when they can"
                )
            self._disk_failed = True

    def _lap(self) -> float:
        previous, self._clock = self._clock, time.monotonic()
        return max(self._clock - previous, 1e-9)

    def _seconds(self) -> float:
        return round(time.monotonic() - self._started, 3)

    def _seconds_left(self, meta_step: int) -> float | None:
        if not self._timed_steps:
            return None
        return (self._meta_steps - meta_step) * self._training_seconds / self._timed_steps


def read(workdir: Path) -> list[dict[str, Any]]:
    """All records of a run, in the order in which they were written."""
    lines = (workdir / METRICS).read_text(encoding="utf-8").splitlines()
    return [json.loads(line) for line in lines]


def event_sizes(folder: Path) -> dict[str, int]:
    """Size in bytes of each event file, by its path in the work folder."""
    files = sorted((folder / EVENTS).glob("*"))
    return {str(path.relative_to(folder)): path.stat().st_size for path in files}


def cut(folder: Path, snapshot: Mapping[str, Any] | None) -> int:
    """Cut metrics.jsonl and the event files back to what a checkpoint knows of.

    Args:
        folder: work folder.
        snapshot: of the checkpoint; None cuts everything.

    Returns:
        Bytes that metrics.jsonl should have and has not; lines that are no records are removed.
    """
    known = snapshot["files"] if snapshot else {}
    for path in [folder / METRICS, *(folder / EVENTS).glob("*")]:
        size = known.get(str(path.relative_to(folder)))
        if size is None:
            path.unlink(missing_ok=True)
        elif path.exists() and path.stat().st_size > size:
            os.truncate(path, size)
    return known.get(METRICS, 0) - _remove_damaged_lines(folder / METRICS)


def _remove_damaged_lines(path: Path) -> int:
    """Size of what is left."""
    if not path.exists():
        return 0
    data = path.read_bytes()
    kept = b"".join(line for line in data.splitlines(keepends=True) if _is_record(line))
    if kept != data:
        path.write_bytes(kept)
    return len(kept)


def _is_record(line: bytes) -> bool:
    try:
        record = json.loads(line)
    except (ValueError, RecursionError):
        return False
    if not line.endswith(b"\n") or not isinstance(record, dict) or "meta_step" not in record:
        return False
    return all(value is None or isinstance(value, int | float) for value in record.values())
