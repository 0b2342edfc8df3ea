"""How results show themselves as they come: a bar on a terminal, a line each in a log."""

import sys

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn


class ResultProgress:
    """A context that shows results as they come.

    Args:
        total: number of results to come.
    """

    def __init__(self, total: int) -> None:
        self._total = total
        self._done = 0
        self._bar: Progress | None = None
        if sys.stdout.isatty():
            columns = (BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
            self._bar = Progress(*columns, TextColumn("{task.description}"), console=Console())
            self._task = self._bar.add_task("", total=total)

    def __enter__(self) -> "ResultProgress":
        if self._bar:
            self._bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._bar:
            self._bar.stop()

    def show(self, text: str) -> None:
        """One more result is there."""
        self._done += 1
        if self._bar:
            self._bar.update(self._task, advance=1, description=text)
        else:
            print(f"{self._done}/{self._total}  {text}", flush=True)
