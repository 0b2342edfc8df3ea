"""Files on a disk of this machine or in a bucket: listed, written whole, and made to last.

Paths are those of ``etils.epath``, which are alike for both. A bucket keeps an object whole or not
at all, and for good; on a disk both take some care.
"""

import functools
import os
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

import fsspec
import fsspec.config
from etils import epath

T = TypeVar("T")

# Listings that are remembered do not know what TensorStore writes, nor what other threads do at the
# same time, and a file that they lack is taken for one that is not there.
fsspec.config.conf.setdefault("gs", {})["use_listings_cache"] = False

_WORKERS = 16
"""Files at a time: with a bucket, time passes in waiting for answers."""


def for_each(do: Callable[..., T], *values: Iterable[Any]) -> list[T]:
    """``map`` in several threads; raises what the first call has raised that has."""
    return list(_pool().map(do, *values))


@functools.cache
def _pool() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(_WORKERS, thread_name_prefix="files")


def is_local(path: epath.PathLike) -> bool:
    """Whether a path is of this machine's file system, and not an address such as gs://..."""
    return "://" not in os.fspath(path)


def absolute(path: epath.PathLike) -> str:
    """The path from the root; an address in a bucket is one as it is."""
    return os.path.abspath(path) if is_local(path) else os.fspath(path)


def sizes(folder: epath.PathLike) -> dict[str, int]:
    """Size in bytes of every file below a folder, by its path there; none where it is missing."""
    files, root = fsspec.url_to_fs(os.fspath(folder))
    found = files.find(root, detail=True)
    return {os.path.relpath(path, root): found[path]["size"] for path in sorted(found)}


def write(path: epath.Path, content: bytes) -> None:
    """Write a file that is there as a whole or not at all, whenever the process or machine ends."""
    if not is_local(path):
        path.write_bytes(content)
        return
    unfinished = path.with_name(f".{path.name}.new")
    unfinished.write_bytes(content)
    sync(unfinished)
    unfinished.replace(path)
    sync(path.parent)


def sync(path: epath.PathLike) -> None:
    """Make sure that a file or a folder of this machine outlasts it."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def sync_below(folder: epath.PathLike) -> None:
    """``sync`` everything in a folder and the folder itself; a bucket needs none of that."""
    if is_local(folder):
        for parent, _, names in os.walk(folder):
            for name in (*names, "."):
                sync(os.path.join(parent, name))
