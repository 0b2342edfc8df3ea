"""Counting and timing meta-steps, whose numbers are fetched one dispatch late."""

import math
import time
from collections.abc import Mapping
from typing import Any

import numpy as np

Record = dict[str, Any]
"""Numbers of one meta-step by name, as a line of metrics.jsonl holds them."""
_KEPT = ("inner_steps", "diverged", "skipped", "bad_in_a_row", "meta_loss")


class Tally:
    """What a run has come to, over all processes that have worked on it.

    The numbers of a dispatch are fetched when the one after it has been handed to the device, so
    that the device never waits for the host.

    Args:
        started: ``time.monotonic()`` from which the seconds of the run count; None for now.
    """

    def __init__(self, started: float | None = None) -> None:
        self.inner_steps = 0
        self.diverged = 0
        """Particles that were dropped."""
        self.skipped = 0
        """Meta-steps that changed nothing."""
        self.bad_in_a_row = 0
        """The newest of those, one after the other."""
        self.meta_loss: float | None = None
        """Of the newest meta-step; None where it was not finite."""
        self._clock = time.monotonic()
        self._began = self._clock if started is None else started
        self._pending: tuple[int, Mapping[str, Any]] | None = None
        self._compiled = False
        self._timed = self._since_idle = (0.0, 0)  # seconds and meta-steps

    @property
    def seconds(self) -> float:
        """Time that the run has taken."""
        return round(time.monotonic() - self._began, 3)

    def seconds_for(self, meta_steps: int) -> float | None:
        """Estimate for so many meta-steps; None where none was timed yet."""
        seconds, count = self._timed
        return meta_steps * seconds / count if count else None

    def start(self) -> None:
        """A dispatch is about to be handed to the device; it counts from now if that was idle."""
        if self._pending is None:
            self._clock = time.monotonic()

    def push(self, meta_step: int, records: Mapping[str, Any]) -> list[Record]:
        """Take a dispatch, and give the records of the one before.

        Args:
            meta_step: the last of the dispatch; the first of a run is 1.
            records: device arrays with a leading axis of meta-steps.
        """
        pending, self._pending = self._pending, (meta_step, records)
        return [] if pending is None else self._fetch(*pending)

    def flush(self) -> list[Record]:
        """Wait for the newest dispatch, and give its records."""
        pending, self._pending = self._pending, None
        return [] if pending is None else self._fetch(*pending)

    def snapshot(self) -> dict[str, Any]:
        """What a checkpoint keeps, as JSON."""
        return {"seconds": self.seconds, **{name: getattr(self, name) for name in _KEPT}}

    def restore(self, snapshot: Mapping[str, Any]) -> None:
        """Resume from a snapshot; that of an older version may lack some of it."""
        self._began -= snapshot["seconds"]
        for name in _KEPT:
            setattr(self, name, snapshot.get(name, getattr(self, name)))

    def _fetch(self, meta_step: int, records: Mapping[str, Any]) -> list[Record]:
        arrays = {name: np.asarray(values) for name, values in records.items()}
        count = len(arrays["meta_loss"])
        seconds_per_step = self._lap(count)
        rows = [{name: x[i].item() for name, x in arrays.items()} for i in range(count)]
        first = meta_step - count + 1
        return [self._record(first + i, row, seconds_per_step) for i, row in enumerate(rows)]

    def _record(self, meta_step: int, row: Record, seconds: float) -> Record:
        inner_steps, skipped = row.pop("inner_steps", None), int(row.get("skipped", 0))
        self.inner_steps += int(inner_steps or 0)
        self.diverged += int(row.get("diverged", 0))
        self.skipped += skipped
        self.bad_in_a_row = self.bad_in_a_row + 1 if skipped else 0
        self.meta_loss = row["meta_loss"] if math.isfinite(row["meta_loss"]) else None
        rate = math.nan if inner_steps is None else inner_steps / seconds
        record = {"meta_step": meta_step, "snr": math.nan, "diverged": 0, **row}
        return {**record, "inner_steps_per_s": rate, "seconds": self.seconds}

    def _lap(self, count: int) -> float:
        """Seconds per meta-step of the dispatch that has just been fetched.

        Where none waits after it, it may have been done long before it was fetched, and its own
        time tells nothing: it gets the mean since the device last had nothing to do.
        """
        now = time.monotonic()
        elapsed, self._clock = max(now - self._clock, 1e-9), now
        if self._compiled:  # the first dispatch may include compilation
            self._timed = self._timed[0] + elapsed, self._timed[1] + count
        self._compiled = True
        seconds, steps = self._since_idle[0] + elapsed, self._since_idle[1] + count
        if self._pending is not None:
            self._since_idle = seconds, steps
            return elapsed / count
        self._since_idle = 0.0, 0
        return seconds / steps
