"""How commands that measure show themselves: a bar on a terminal, lines in a log."""

import datetime
import sys
import time
from typing import Any

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    TextColumn,
    TimeElapsedColumn,
)


class _Bar:
    """A context with a bar where stdout is a terminal.

    Args:
        total: at which the bar is full.
        columns: between the bar and the words.
    """

    def __init__(self, total: float | int, *columns: ProgressColumn) -> None:
        self._total = total
        self._bar: Progress | None = None
        if sys.stdout.isatty():
            words = TextColumn("{task.description}")
            self._bar = Progress(BarColumn(), *columns, words, console=Console())
            self._task = self._bar.add_task("", total=total)

    def __enter__(self) -> Any:
        if self._bar:
            self._bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._bar:
            self._bar.stop()


class ResultProgress(_Bar):
    """A context that shows results as they come.

    Args:
        total: number of results to come.
    """

    def __init__(self, total: int) -> None:
        super().__init__(total, MofNCompleteColumn(), TimeElapsedColumn())
        self._done = 0

    def show(self, text: str) -> None:
        """One more result is there."""
        self._done += 1
        if self._bar:
            self._bar.update(self._task, advance=1, description=text)
        else:
            print(f"{self._done}/{self._total}  {text}", flush=True)


class TimeProgress(_Bar):
    """A context that shows what was measured, and how much of the time is left.

    Args:
        seconds: of measuring, at most.
    """

    def __init__(self, seconds: float) -> None:
        super().__init__(seconds, TimeElapsedColumn())
        self._next = 0.0

    def show(self, text: str, seconds_left: float) -> None:
        """Something was measured; in a log, a line at most every five seconds."""
        left = datetime.timedelta(seconds=max(0, round(seconds_left)))
        if self._bar:
            done = self._total - max(0.0, seconds_left)
            self._bar.update(self._task, completed=done, description=f"{text}, {left} left")
        elif time.monotonic() >= self._next:
            self._next = time.monotonic() + 5.0
            print(f"{left} left  {text}", flush=True)
