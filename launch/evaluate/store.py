"""Finished results on disk, found by key: in the work folder, the user's cache, the package.

A file holds its key besides the result. One that cannot be read, or holds another key, counts as
missing.
"""

import functools
import io
import json
import os
import uuid
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from launch import errors
from launch.evaluate.identity import canonical, digest

SHIPPED = Path(__file__).resolve().parent / "shipped"
_KEY = "key"

Arrays = dict[str, np.ndarray]


class Store:
    """Results in folders: all of them are written, the first that has a result is read.

    Args:
        folders: are created; may be none.
    """

    def __init__(self, folders: Sequence[Path]) -> None:
        self._folders = list(folders)

    def load_json(self, key: Mapping[str, Any]) -> Any | None:
        """What ``save_json`` has saved; None where there is nothing."""
        for path in self._paths(key, "json"):
            try:
                entry = json.loads(path.read_bytes())
                if canonical(entry[_KEY]) == canonical(key):
                    return entry["value"]
            except (OSError, ValueError, TypeError, KeyError):
                continue
        return None

    def save_json(self, key: Mapping[str, Any], value: Any) -> None:
        """Save plain data."""
        text = json.dumps({_KEY: key, "value": value}, default=str)
        for path in self._paths(key, "json"):
            write_atomically(path, text.encode())

    def load_arrays(self, key: Mapping[str, Any]) -> Arrays | None:
        """What ``save_arrays`` has saved; None where there is nothing."""
        for path in self._paths(key, "npz"):
            try:
                with np.load(io.BytesIO(path.read_bytes()), allow_pickle=False) as file:
                    arrays = dict(file)
                if str(arrays.pop(_KEY)) == canonical(key):
                    return arrays
            except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile):
                continue
        return None

    def save_arrays(self, key: Mapping[str, Any], arrays: Arrays) -> None:
        """Save arrays by name."""
        buffer = io.BytesIO()
        np.savez_compressed(
            buffer, allow_pickle=False, **arrays, **{_KEY: np.asarray(canonical(key))}
        )
        for path in self._paths(key, "npz"):
            write_atomically(path, buffer.getvalue())

    def _paths(self, key: Mapping[str, Any], suffix: str) -> list[Path]:
        name = f"{digest(key)[:40]}.{suffix}"
        return [folder / name for folder in self._folders]


def load_shipped(key: Mapping[str, Any], folder: Path = SHIPPED) -> Any | None:
    """A result that comes with the package; None where there is none of this very key."""
    return _shipped(folder).get(canonical(key))


@functools.cache
def _shipped(folder: Path) -> dict[str, Any]:
    files = (
        json.loads(path.read_text(encoding="utf-8")) for path in sorted(folder.glob("*-jax*.json"))
    )
    return {canonical(entry[_KEY]): entry["value"] for entries in files for entry in entries}


def write_atomically(path: Path, content: bytes) -> None:
    """Write a file under a temporary name, then rename it: a reader sees all of it or nothing.

    Raises:
        RunFailed: it cannot be written.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        # Not tempfile's: the permissions are to be those of any file of the user's.
        unfinished = path.with_name(f".{uuid.uuid4().hex}")
        with unfinished.open("xb") as file:
            try:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
                unfinished.rename(path)
            except BaseException:
                unfinished.unlink()
                raise
    except OSError as error:
        raise errors.RunFailed(
            f"{path} cannot be written ({error.strerror or error}); what is finished is kept, and "
            "the same command goes on from there"
        ) from error
