"""Prepared data sets in a bucket of Google Cloud Storage: copied to each machine that reads them.

The records are read by a library that knows no buckets, and many times.
"""

import hashlib
import os
import uuid
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from etils import epath

INFO = "dataset_info.json"
"""Copied last: what has it is complete."""
_WORKERS = 16
_BESIDE = "lopt-cache"
"""In the names of files that are of one machine."""


def place(address: str) -> "epath.Path":
    """A folder in a bucket.

    Raises:
        ValueError: the address is of other storage.
        ModuleNotFoundError: gcsfs is not installed.
    """
    if not address.startswith("gs://"):
        raise ValueError(
            f"data_dir = {address}: of storage in clouds only gs:// can be used; give "
            "gs://BUCKET/FOLDER, or a folder of a file system"
        )
    import gcsfs  # noqa: F401  # pyright: ignore[reportMissingImports]  # epath opens it by this
    from etils import epath

    return epath.Path(address)


def user_cache() -> Path:
    """The folder of this machine for what can be made again from prepared data sets."""
    return Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser() / "lopt"


def copy_of(folder: "epath.Path") -> Path:
    """Where this machine has, or will have, its copy of a data set's folder in a bucket."""
    *_, name, version = folder.parts
    tag = hashlib.sha256(os.fspath(folder.parent.parent).encode()).hexdigest()[:16]
    return user_cache() / "data" / tag / name / version


def fetch(folder: "epath.Path") -> Path:
    """Copy a data set to this machine, as far as it is not there yet; returns its folder."""
    target = copy_of(folder)
    target.mkdir(parents=True, exist_ok=True)

    def copy(name: str) -> None:
        path, source = target / name, folder / name
        if not path.exists() or path.stat().st_size != source.stat().length:
            unfinished = target / f".{uuid.uuid4().hex}"
            unfinished.write_bytes(source.read_bytes())
            unfinished.replace(path)

    _copy_all([path.name for path in folder.iterdir() if not path.is_dir()], copy)
    return target


def upload(source: Path, folder: "epath.Path") -> None:
    """Copy a data set from this machine."""

    def copy(name: str) -> None:
        (folder / name).write_bytes((source / name).read_bytes())

    _copy_all([path.name for path in source.iterdir() if _BESIDE not in path.name], copy)


def _copy_all(names: Iterable[str], copy: Callable[[str], None]) -> None:
    with ThreadPoolExecutor(_WORKERS) as pool:
        list(pool.map(copy, [name for name in names if name != INFO]))
    copy(INFO)
