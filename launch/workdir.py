"""The folder that a command writes into."""

import contextlib
import errno
import json
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import filelock

from launch import errors

LOCK = ".lock"
_NO_LOCKS = (errno.ENOSYS, errno.ENOTSUP, errno.ENOLCK)
"""What file systems without locks say."""


def prepare(path: str | Path) -> Path:
    """Make the work folder and check that a run can be written into it.

    Raises:
        UserError: it has no name, or cannot be written.
    """
    if not str(path):
        raise errors.UserError("--workdir is missing; for instance --workdir=runs/digits")
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


@contextlib.contextmanager
def lock(folder: Path) -> Iterator[None]:
    """Keep every other command that writes into a work folder out of it.

    The lock is the operating system's, on an empty file that stays: it ends with the process, in
    whatever way that ends. Where the file system has no locks, a line on stderr says so and the
    command goes on; where it keeps them on each machine (object storage mounted by FUSE, mostly),
    only commands on the same machine are kept out. A network file system may hold the lock of a
    machine that has crashed for a minute or two.

    Raises:
        UserError: another command holds the lock, or the file cannot be opened.
    """
    try:
        held = filelock.FileLock(folder / LOCK, timeout=0, fallback_to_soft=False).acquire()
    except filelock.Timeout as error:
        raise errors.UserError(
            f"--workdir={folder} is in use: another command writes there; give another --workdir, "
            "or wait for that command or stop it"
        ) from error
    except OSError as error:
        if error.errno not in _NO_LOCKS:
            raise errors.UserError(
                f"--workdir={folder} cannot be locked ({error.strerror}: {error.filename}); choose "
                "another folder"
            ) from error
        print(
            f"lopt: the file system of {folder} has no locks ({error.strerror}): nothing keeps a "
            "second command from writing there meanwhile",
            file=sys.stderr,
            flush=True,
        )
        held = contextlib.nullcontext()
    with held:
        yield


def write_json(path: Path, value: Any) -> None:
    """Write ``value`` as indented JSON."""
    path.write_text(json.dumps(value, indent=2, sort_keys=True) + "\n", encoding="utf-8")
