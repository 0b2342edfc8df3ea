"""How a run shows itself: a bar on a terminal, plain lines in a log."""

import datetime
import sys
import time
from collections.abc import Mapping
from typing import Protocol

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn

SECONDS_BETWEEN_LINES = 10.0


class ProgressDisplay(Protocol):
    """Shows the records of a run."""

    def update(
        self, record: Mapping[str, float], counts: Mapping[str, int], seconds_left: float | None
    ) -> None:
        """Show the state after one dispatch.

        Args:
            record: the newest record, with the keys of metrics.jsonl.
            counts: what was counted since the start: "diverged", particles that were dropped, and
                "skipped", meta-steps that changed nothing.
            seconds_left: estimate of the time to the last meta-step; None where there is none.
        """

    def message(self, text: str) -> None:
        """Show a line that stays."""

    def close(self) -> None:
        """Show the last state and stop."""


def make_progress(meta_steps: int) -> ProgressDisplay:
    """A bar where stdout is a terminal, else plain lines."""
    if sys.stdout.isatty():
        return ProgressBar(meta_steps, Console())
    return ProgressLines(meta_steps)


def describe(
    record: Mapping[str, float], counts: Mapping[str, int], seconds_left: float | None
) -> str:
    """The record in words, without the meta-step."""
    left = "?" if seconds_left is None else datetime.timedelta(seconds=round(seconds_left))
    in_words = "  ".join(f"{name} {count}" for name, count in counts.items())
    return (
        f"meta-loss {record['meta_loss']:.4f}  grad-norm {record['grad_norm']:.3g}  "
        f"snr {record['snr']:.2f}  {in_words}  "
        f"{record['inner_steps_per_s']:,.0f} inner steps/s  {left} left"
    )


class ProgressBar:
    """A bar that is redrawn in place.

    Args:
        meta_steps: length of the run.
        console: the terminal.
    """

    def __init__(self, meta_steps: int, console: Console) -> None:
        self._bar = Progress(
            TextColumn("meta-step {task.completed}/{task.total}"),
            BarColumn(bar_width=20),
            TextColumn("{task.description}"),
            console=console,
            refresh_per_second=4,
        )
        self._task = self._bar.add_task("compiling", total=meta_steps)
        self._bar.start()

    def update(
        self, record: Mapping[str, float], counts: Mapping[str, int], seconds_left: float | None
    ) -> None:
        """Redraw with the newest record."""
        self._bar.update(
            self._task,
            completed=int(record["meta_step"]),
            description=describe(record, counts, seconds_left),
        )

    def message(self, text: str) -> None:
        """Print a line above the bar."""
        self._bar.console.print(text, highlight=False)

    def close(self) -> None:
        """Draw a last time and give the terminal back."""
        self._bar.stop()


class ProgressLines:
    """A line at the first record and at the first estimate, then one every ten seconds.

    The last record gets a line as well.

    Args:
        meta_steps: length of the run.
    """

    def __init__(self, meta_steps: int) -> None:
        self._meta_steps = meta_steps
        self._next = 0.0
        self._estimated = False
        self._unprinted: str | None = None

    def update(
        self, record: Mapping[str, float], counts: Mapping[str, int], seconds_left: float | None
    ) -> None:
        """Print the newest record if it is time, else keep it."""
        step = f"meta-step {int(record['meta_step'])}/{self._meta_steps}"
        self._unprinted = f"{step}  {describe(record, counts, seconds_left)}"
        now = time.monotonic()
        first_estimate = seconds_left is not None and not self._estimated
        if now >= self._next or first_estimate:
            self._estimated = seconds_left is not None
            self._next = now + SECONDS_BETWEEN_LINES
            self._print()

    def message(self, text: str) -> None:
        """Print a line."""
        print(text, flush=True)

    def close(self) -> None:
        """Print the last record, if it has not been."""
        self._print()

    def _print(self) -> None:
        if self._unprinted is not None:
            print(self._unprinted, flush=True)
        self._unprinted = None
