"""Finished results on disk, found by key.

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
from etils import epath

from meta_train.evaluation.identity import canonical, digest

_KEY = "key"

Arrays = dict[str, np.ndarray]


class NotWritten(OSError):
    """A file that cannot be written: ``errno``, ``strerror`` and ``filename`` say why and which."""


class Store:
    """Results in folders: all of them are written, the first that has a result is read.

    Args:
        folders: are created; may be none.
        shared: likewise, but only for results of baselines, which other evaluations need too.
        shipped: folder of results that are read and never written, see ``read_shipped``; or None.
    """

    def __init__(
        self,
        folders: Sequence[epath.PathLike],
        shared: Sequence[epath.PathLike] = (),
        shipped: Path | None = None,
    ) -> None:
        self._folders = [epath.Path(folder) for folder in folders]
        self._shared = [epath.Path(folder) for folder in shared]
        self._shipped = shipped

    def of(self, kind: str) -> "Store":
        """The store for results of one kind of optimizer."""
        shared = self._shared if kind == "baseline" else []
        return Store([*self._folders, *shared], shipped=self._shipped)

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

    def load_shipped(self, key: Mapping[str, Any]) -> Any | None:
        """A result of the shipped ones; None where there is none of this very key."""
        return None if self._shipped is None else read_shipped(self._shipped).get(canonical(key))

    def save_json(self, key: Mapping[str, Any], value: Any) -> None:
        """Save plain data."""
        for path in self._paths(key, "json"):
            text = json.dumps({_KEY: key, "value": value}, default=str)
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
        for path in self._paths(key, "npz"):
            buffer = io.BytesIO()
            text = np.asarray(canonical(key))
            np.savez_compressed(buffer, allow_pickle=False, **arrays, **{_KEY: text})
            write_atomically(path, buffer.getvalue())

    def _paths(self, key: Mapping[str, Any], suffix: str) -> list[epath.Path]:
        return [folder / f"{digest(key)[:40]}.{suffix}" for folder in self._folders]


@functools.cache
def read_shipped(folder: Path) -> dict[str, Any]:
    """Results by their keys as text, from the files *-jax*.json of a folder."""
    files = (
        json.loads(path.read_text(encoding="utf-8")) for path in sorted(folder.glob("*-jax*.json"))
    )
    return {canonical(entry[_KEY]): entry["value"] for entries in files for entry in entries}


def write_atomically(path: epath.PathLike, content: bytes) -> None:
    """Write a file under a temporary name, then rename it: a reader sees all of it or nothing.

    A bucket, whose addresses begin with gs://, does so by itself.

    Raises:
        NotWritten: it cannot be written.
    """
    try:
        if "://" in os.fspath(path):
            _upload(epath.Path(path), content)
        else:
            _write_and_rename(Path(path), content)
    except OSError as error:
        raise NotWritten(error.errno, error.strerror or str(error), os.fspath(path)) from error


def _upload(path: epath.Path, content: bytes) -> None:
    try:
        path.write_bytes(content)
    except Exception as error:  # of the transport, which has no base in common with the others
        raise OSError(str(error)) from error


def _write_and_rename(path: Path, content: bytes) -> None:
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
