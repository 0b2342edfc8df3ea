"""What a run writes down: metrics.jsonl, and the same for TensorBoard and trackers."""

import functools
import json
import math
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from meta_train.run.appending import AppendedFile
from meta_train.run.events import EVENTS, EventWriter
from meta_train.run.run import Hook, Run
from meta_train.run.staging import Staging
from meta_train.run.tally import Record
from meta_train.run.writer import Tracker

METRICS = "metrics.jsonl"
_GROWING = (METRICS, EVENTS, "wandb", "mlflow")


class Records(Hook):
    """Writes the records of a run into its folder, as lines of metrics.jsonl, and to writers.

    What is there already is first cut back to what the checkpoint knows of from which the run goes
    on; all of it goes where the run starts afresh. Trackers are not cut, see ``Tracker``. A full
    disk does not end the run: what it does not take is written when there is space again.

    Args:
        folder: receives metrics.jsonl.
        writers: each makes a ``clu.metric_writers.MetricWriter`` from the folder, which receives
            the same numbers; as it is, event files are written into ``folder``/events.
        every_steps: meta-steps whose number it divides are written down, and the last of a run.
        hparams: hyperparameters by name, for the writers.
    """

    def __init__(
        self,
        folder: str | os.PathLike[str],
        writers: Sequence[Callable[[Path], Any]] = (EventWriter,),
        every_steps: int = 1,
        hparams: Mapping[str, Any] | None = None,
    ) -> None:
        self._target = folder
        self._makers = writers
        self._every_steps = every_steps
        self._hparams = hparams
        self._known: Mapping[str, int] = {}
        self._disk_failed = False

    def between(self, run: Run) -> None:
        """Open everything before the first meta-step: what cannot be opened ends the run."""
        _ = self._writers

    def recorded(self, run: Run, records: Sequence[Record]) -> None:
        """Write down the meta-steps that are to be."""
        for record in records:
            meta_step = record["meta_step"]
            if meta_step % self._every_steps == 0 or meta_step == run.meta_steps:
                self._write(record)

    def validated(self, run: Run, loss: float, best: bool) -> None:
        """Write down a validation, in a line of its own."""
        del best
        line = {"meta_step": run.meta_step, "meta_valid_loss": loss, "seconds": run.tally.seconds}
        self._write(line)

    def snapshot(self) -> dict[str, Any]:
        """Sizes of all files, to which resuming from the checkpoint will cut them."""
        for writer in self._writers:
            self._try(writer.flush)
        return {"files": {METRICS: self._file.size, **_event_sizes(self._folder)}}

    def restore(self, snapshot: Mapping[str, Any]) -> None:
        """Keep what was written before the checkpoint."""
        self._known = snapshot.get("files", {})

    def persist(self) -> None:
        """Let the files last, with all that they hold."""
        self._staging.persist()

    def close(self) -> None:
        """Close all files, if there are any."""
        if "_file" in vars(self):
            self._try(self._file.flush)
            self._file.close()
        for writer in vars(self).get("_writers", ()):
            self._try(writer.close)
        if "_file" in vars(self):
            self._try(self._staging.persist)
            self._staging.close()

    @functools.cached_property
    def _staging(self) -> Staging:
        return Staging(self._target, _GROWING)

    @property
    def _folder(self) -> Path:
        return self._staging.folder

    @functools.cached_property
    def _file(self) -> AppendedFile:
        self._folder.mkdir(parents=True, exist_ok=True)
        if lost := cut(self._folder, self._known):
            name = os.path.join(self._target, METRICS)
            print(f"{name} is damaged: {lost} bytes of records are lost")
        file = AppendedFile(self._folder / METRICS)
        self._staging.persist()
        return file

    @functools.cached_property
    def _writers(self) -> list[Any]:
        _ = self._file  # the event files are cut before there is one more
        writers = [make(self._folder) for make in self._makers]
        for writer in writers:
            if self._hparams is not None:
                self._try(writer.write_hparams, self._hparams)
            if isinstance(writer, Tracker):
                for line in (self._folder / METRICS).read_bytes().splitlines():
                    self._send(writer, json.loads(line))
        return writers

    def _write(self, record: Record) -> None:
        writers = self._writers  # trackers are sent the file as it was before this record
        finite = {name: value for name, value in record.items() if math.isfinite(value)}
        line = json.dumps({**dict.fromkeys(record), **finite})
        self._try(self._file.append, f"{line}\n".encode())
        for writer in writers:
            self._send(writer, finite)

    def _send(self, writer: Any, record: Record) -> None:
        numbers = {name: value for name, value in record.items() if value is not None}
        self._try(writer.write_scalars, int(numbers.pop("meta_step")), numbers)

    def _try(self, write: Callable[..., Any], *arguments: Any) -> None:
        """Write; a full disk is reported once."""
        try:
            write(*arguments)
        except OSError as error:
            if not self._disk_failed:
                print(
                    f"records cannot be written ({error.strerror or error}); training continues, "
                    f"and {METRICS} is completed when they can",
                    flush=True,
                )
            self._disk_failed = True


def _event_sizes(folder: Path) -> dict[str, int]:
    """Size in bytes of each event file, by its path in the work folder."""
    files = sorted((folder / EVENTS).glob("*"))
    return {str(path.relative_to(folder)): path.stat().st_size for path in files}


def cut(folder: Path, known: Mapping[str, int]) -> int:
    """Cut metrics.jsonl and the event files back to the sizes that a checkpoint knows.

    Args:
        folder: of the run.
        known: sizes in bytes by path in the folder; a file that is not among them goes.

    Returns:
        Bytes that metrics.jsonl should have and has not; lines that are no records are removed.
    """
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
