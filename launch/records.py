"""What a run writes down: metrics.jsonl and events, fetched one dispatch late."""

import json
import math
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from launch.progress import ProgressDisplay
from launch.workdir import METRICS
from launch.writer import MetricWriter


class Recorder:
    """Turns the records of dispatches into lines of metrics.jsonl, events and progress.

    A dispatch is fetched when the one after it has been handed to the device, so that the device
    never waits for the host.

    Args:
        workdir: receives metrics.jsonl.
        writer: receives the same numbers.
        progress: shows the newest record.
        meta_steps: length of the run.
        every_steps: meta-steps whose number it divides are written down, and the last.
        started: ``time.monotonic()`` of the start of the run.
    """

    def __init__(
        self,
        workdir: Path,
        writer: MetricWriter,
        progress: ProgressDisplay,
        meta_steps: int,
        every_steps: int,
        started: float,
    ) -> None:
        self._file = (workdir / METRICS).open("a", encoding="utf-8", buffering=1)
        self._writer = writer
        self._progress = progress
        self._meta_steps = meta_steps
        self._every_steps = every_steps
        self._started = started
        self._clock = time.monotonic()
        self._training_seconds = 0.0
        self._timed_steps = 0
        self._compiled = False
        self._diverged = 0
        self._pending: tuple[int, Mapping[str, Any]] | None = None

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
        self._progress.message(
            f"meta-step {meta_step}  meta-validation: mean loss {loss:.4f} on fresh seeds{mark}"
        )
        self._clock = time.monotonic()

    def close(self) -> None:
        """Close metrics.jsonl; what was not flushed is left out."""
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
            self._diverged += int(numbers.get("diverged", 0))
            record = self._record(meta_step, numbers, elapsed / count)
            if meta_step % self._every_steps == 0 or meta_step == self._meta_steps:
                self._write(record)
        self._progress.update(record, self._diverged, self._seconds_left(last_step))

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
        self._file.write(json.dumps({**dict.fromkeys(record), **finite}) + "\n")
        self._writer.write_scalars(int(finite.pop("meta_step")), finite)

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
