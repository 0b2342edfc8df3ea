"""How a run shows itself: a bar on a terminal, plain lines in a log."""

import datetime
import sys
import time
from collections.abc import Sequence

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn

from meta_train.run.run import Hook, Run
from meta_train.run.tally import Record

SECONDS_BETWEEN_LINES = 10.0


def make_progress() -> Hook:
    """A bar where stdout is a terminal, else plain lines."""
    return ProgressBar(Console()) if sys.stdout.isatty() else ProgressLines()


def describe(run: Run, record: Record) -> str:
    """The newest record in words, without the meta-step."""
    seconds_left = run.tally.seconds_for(run.meta_steps - run.meta_step)
    left = "?" if seconds_left is None else datetime.timedelta(seconds=round(seconds_left))
    return (
        f"meta-loss {record['meta_loss']:.4f}  grad-norm {record['grad_norm']:.3g}  "
        f"snr {record['snr']:.2f}  diverged {run.tally.diverged}  skipped {run.tally.skipped}  "
        f"{record['inner_steps_per_s']:,.0f} inner steps/s  {left} left"
    )


def describe_run_in(run: Run) -> str:
    """Why the next meta-step takes longer than those after it; empty where it does not."""
    work = run.run_in() if run.meta_step == 0 else 0
    return f"clocks are run in, the work of about {work:.0f} meta-steps" if work >= 1 else ""


class ProgressBar(Hook):
    """A bar that is redrawn in place; what is printed meanwhile appears above it.

    Args:
        console: the terminal.
    """

    def __init__(self, console: Console) -> None:
        self._bar = Progress(
            TextColumn("meta-step {task.completed}/{task.total}"),
            BarColumn(bar_width=20),
            TextColumn("{task.description}"),
            console=console,
            refresh_per_second=4,
        )
        self._task = self._bar.add_task("compiling", visible=False)
        self._bar.start()

    def between(self, run: Run) -> None:
        """Show the bar, from before the first meta-step on."""
        words = describe_run_in(run) or None
        self._bar.update(self._task, total=run.meta_steps, visible=True, description=words)

    def recorded(self, run: Run, records: Sequence[Record]) -> None:
        """Redraw with the newest record."""
        self._bar.update(
            self._task,
            total=run.meta_steps,
            visible=True,
            completed=int(records[-1]["meta_step"]),
            description=describe(run, records[-1]),
        )

    def close(self) -> None:
        """Draw a last time and give the terminal back."""
        self._bar.stop()


class ProgressLines(Hook):
    """A line at the first record and at the first estimate, then one every ten seconds.

    The last record gets a line as well.
    """

    def __init__(self) -> None:
        self._next = 0.0
        self._estimated = False
        self._unprinted: str | None = None

    def between(self, run: Run) -> None:
        """Say what is before the first meta-step."""
        if words := describe_run_in(run):
            print(words, flush=True)

    def recorded(self, run: Run, records: Sequence[Record]) -> None:
        """Print the newest record if it is time, else keep it."""
        step = f"meta-step {int(records[-1]['meta_step'])}/{run.meta_steps}"
        self._unprinted = f"{step}  {describe(run, records[-1])}"
        now, estimated = time.monotonic(), run.tally.seconds_for(1) is not None
        if now >= self._next or estimated > self._estimated:
            self._next, self._estimated = now + SECONDS_BETWEEN_LINES, estimated
            self.close()

    def close(self) -> None:
        """Print the newest record, if it has not been."""
        if self._unprinted is not None:
            print(self._unprinted, flush=True)
        self._unprinted = None
