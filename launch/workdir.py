"""The folder that holds everything of one run."""

import json
import tempfile
from pathlib import Path
from typing import Any

from launch import errors

METRICS = "metrics.jsonl"
CONFIG = "config.json"
EVENTS = "events"
CHECKPOINTS = "checkpoints"
FINISHED = "finished.json"
"""Written last; holds the number of meta-steps after which the run was finished."""


def prepare(path: str | Path) -> Path:
    """Make the work folder and check that a run can be written into it.

    Raises:
        UserError: it cannot be written.
    """
    if "://" in str(path):
        raise errors.UserError(
            f"--workdir={path} is no folder of a file system; mount the storage and give its path"
        )
    folder = Path(path).expanduser()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise errors.UserError(
            f"--workdir={path} cannot be written ({error.strerror}); choose another folder"
        ) from error
    return folder


def finished_steps(folder: Path) -> int | None:
    """Meta-steps after which the run in ``folder`` was finished; None where it was not."""
    try:
        return int(json.loads((folder / FINISHED).read_text(encoding="utf-8"))["meta_steps"])
    except (OSError, ValueError, TypeError, KeyError):
        return None


def write_json(path: Path, value: Any) -> None:
    """Write ``value`` as indented JSON."""
    path.write_text(json.dumps(value, indent=2, sort_keys=True) + "\n", encoding="utf-8")
