"""Measuring cases in turns."""

import contextlib
import dataclasses
import os
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import groupby
from pathlib import Path
from typing import Any

from meta_train.benchmark import command, random_data
from meta_train.benchmark.cases import CASES, Case
from meta_train.benchmark.processes import Worker
from meta_train.benchmark.protocol import Failed

_HERE = Path(__file__).resolve().parent
_OURS = "ours"
Turn = Callable[[], dict[str, Any]]


@dataclasses.dataclass(frozen=True)
class Settings:
    """How to measure.

    Args:
        serve: words after the interpreter that start a process which serves ``worker``.
        train: the same for ``lopt meta-train``.
        folder: for what the processes write: compiled programs, data, runs.
        turns: how often every case has its turn.
        seconds: of one turn.
        against: checkout of another version of this project, which has turns too.
        reference: checkout of google/learned_optimization.
        reference_python: interpreter of an environment that can run it.
    """

    serve: Sequence[str]
    train: Sequence[str]
    folder: Path
    turns: int = 5
    seconds: float = 2.0
    against: str | None = None
    reference: str | None = None
    reference_python: str | None = None

    @property
    def data(self) -> Path:
        """Folder of the data sets that are used."""
        return self.folder / "data"


def limit_cores(count: int) -> None:
    """Let this process, and those that it starts, use so many cores.

    Raises:
        ValueError: there are fewer, or the platform has no way to choose.
    """
    if not hasattr(os, "sched_setaffinity"):
        raise ValueError(f"{count} cores cannot be chosen on {sys.platform}")
    known = sorted(os.sched_getaffinity(0))
    if count > len(known):
        raise ValueError(f"{count} cores are more than the {len(known)} that there are")
    os.sched_setaffinity(0, known[:count])


def measure(
    configs: Mapping[str, dict[str, Any]], settings: Settings
) -> tuple[list[dict[str, Any]], set[str]]:
    """Measure cases; those whose names agree up to the second slash take turns.

    Args:
        configs: of every case, by name, the complete config as JSON.
        settings: how.

    Returns:
        For every case its name and kind, and "competitors", for each the first answer of its
        process ("start") and those to its "turns"; "limit", see ``work``; "error" where a process
        has ended instead. And the data sets in whose place random images stood.
    """
    results, random = [], set()
    for name, group in groupby(configs, lambda name: "/".join(name.split("/")[:2])):
        cases = [CASES[name] for name in group]
        with contextlib.ExitStack() as stack:
            rows = []
            for case in cases:
                _tell(f"{case.name} starts")
                config = dict(configs[case.name])
                tasks = [entry["name"] for entry in config.get("tasks", {}).values()]
                random |= random_data.fill(settings.data, tasks, config.get("data_dir"))
                config["data_dir"] = str(settings.data)
                rows.append(_Row(case, config, settings, stack))
            for number in range(settings.turns):
                _tell(f"{name}: turn {number + 1} of {settings.turns}")
                for row in rows:
                    row.turn()
            results += [row.end() for row in rows]
    return results, random


def _tell(words: str) -> None:
    print(words, file=sys.stderr, flush=True)


class _Row:
    """One case and its competitors, whose processes end with ``stack``."""

    def __init__(
        self,
        case: Case,
        config: dict[str, Any],
        settings: Settings,
        stack: contextlib.ExitStack,
    ) -> None:
        self._case, self._config, self._settings, self._stack = case, config, settings, stack
        self._competitors: dict[str, dict[str, Any]] = {}
        self._result = {"case": case.name, "kind": case.kind, "competitors": self._competitors}
        self._turns: dict[str, Turn] = {}
        self._ours: Worker | None = None
        checkouts = {_OURS: str(_HERE.parent.parent), "against": settings.against}
        with self._failures():
            for name, checkout in checkouts.items():
                if checkout is not None:
                    self._add(name, {"PYTHONPATH": os.path.abspath(checkout)})
            if settings.reference is not None and case.reference is not None:
                self._add_reference(settings.reference, case.reference)

    def turn(self) -> None:
        """Let every competitor have its turn."""
        with self._failures():
            for name, turn in self._turns.items():
                self._competitors[name]["turns"].append(turn())

    def end(self) -> dict[str, Any]:
        """What was measured."""
        with self._failures():
            if self._ours is not None and "error" not in self._result:
                self._result["limit"] = self._ours.ask("limit")
        return self._result

    def _add(self, name: str, environment: Mapping[str, str]) -> None:
        """One version of this project: cold, without compiled programs, then warm."""
        case, settings = self._case, self._settings
        found = self._competitors[name] = {"turns": []}
        if case.kind == "start":
            self._turns[name] = lambda: command.measure(
                self._config, settings.train, environment, settings.folder
            )
            return
        order = {"kind": case.kind, "config": self._config, "optimizer": case.optimizer}
        if case.kind == "apply":
            order |= {"size": case.name.split("/")[2], "update_kernel": case.update_kernel}
        words = [sys.executable, *settings.serve]
        with tempfile.TemporaryDirectory(dir=settings.folder) as cache:
            own = {**environment, "LOPT_CACHE_DIR": cache}
            if case.kind == "meta_step":
                with contextlib.closing(Worker(words, own, order)) as cold:
                    found["cold"] = cold.details
            worker = self._stack.enter_context(contextlib.closing(Worker(words, own, order)))
            found["start"] = worker.details
            if case.kind == "meta_step":
                found["first"] = worker.ask("first")
                self._ours = self._ours or worker
        self._turns[name] = lambda: worker.ask("run", settings.seconds)

    def _add_reference(self, checkout: str, case: Mapping[str, Any]) -> None:
        words = [self._settings.reference_python or sys.executable, "-P"]
        words += [str(_HERE / file) for file in ("protocol.py", "reference.py")]
        modes = ("reference", "fastest") if case["optimizer"] == "adafac_mlp" else ("reference",)
        for name in modes:
            order = {"case": {**case, "fastest": name == "fastest"}}
            worker = Worker(words, {"PYTHONPATH": os.path.abspath(checkout)}, order)
            self._stack.enter_context(contextlib.closing(worker))
            self._competitors[name] = {"start": worker.details, "turns": []}
            self._turns[name] = lambda worker=worker: worker.ask("run", self._settings.seconds)

    @contextlib.contextmanager
    def _failures(self) -> Iterator[None]:
        """A process that fails ends its case, and no other."""
        try:
            yield
        except Failed as error:
            self._result["error"] = str(error)
            self._turns.clear()
