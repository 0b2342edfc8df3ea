"""The folder that holds everything of one run."""

import json
import tempfile
from pathlib import Path
from typing import Any

from launch import errors

METRICS = "metrics.jsonl"


def prepare(path: str | Path) -> Path:
    """Make the work folder and check that a new run can be written into it.

    Raises:
        UserError: it cannot be written, or it holds a run already.
    """
    folder = Path(path).expanduser()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise errors.UserError(
            f"--workdir={path} cannot be written ({error.strerror}); choose another folder"
        ) from error
    if (folder / METRICS).exists():
        raise errors.UserError(
            f"--workdir={path} holds a run already; choose another folder, or remove that one"
        )
    return folder


def write_json(path: Path, value: Any) -> None:
    """Write ``value`` as indented JSON."""
    path.write_text(json.dumps(value, indent=2, sort_keys=True) + "\n", encoding="utf-8")
