"""The folder that a command writes into."""

import contextlib
import functools
import json
import os
import sys
import tempfile
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from launch import errors

if TYPE_CHECKING:
    from etils import epath


def place(path: str) -> "epath.Path":
    """The folder or file that a path or an address in a bucket means; it need not be there.

    Raises:
        UserError: an address of other storage than gs://, or a bucket that cannot be reached.
    """
    from etils import epath  # takes a quarter of a second

    if "://" not in path:
        return epath.Path(path).expanduser()
    from lopt import buckets  # imports JAX

    with errors.mistakes():
        return epath.Path(buckets.place(path))


def prepare(path: str) -> "epath.Path":
    """Make the work folder and check that a run can be written into it.

    Raises:
        UserError: it has no name, or cannot be written.
    """
    if not path:
        raise errors.UserError("--workdir is missing; for instance --workdir=runs/digits")
    folder = place(path)
    try:
        if "://" not in path:  # that a bucket can be written is seen when it is locked
            folder.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryFile(dir=folder):
                pass
    except OSError as error:
        raise errors.UserError(
            f"--workdir={path} cannot be written ({error.strerror}); choose another folder"
        ) from error
    return folder


@contextlib.contextmanager
def lock(folder: "epath.Path") -> Iterator[None]:
    """Keep every other command that writes into a work folder out of it.

    Raises:
        UserError: another command holds the lock, or it cannot be taken.
    """
    from meta_train.run import folder_lock  # imports JAX

    with contextlib.ExitStack() as held:
        with errors.mistakes(f"--workdir={folder} ", folder_lock.NotLocked):
            held.enter_context(folder_lock.hold(folder, functools.partial(_end, folder)))
        yield


def _end(folder: "epath.Path") -> None:
    """End this process at once, which may write no more."""
    print(f"lopt: error: another command has taken over --workdir={folder}", file=sys.stderr)
    os._exit(errors.FAILED)


def write_json(path: "epath.Path", value: Any) -> None:
    """Write ``value`` as indented JSON."""
    path.write_text(json.dumps(value, indent=2, sort_keys=True) + "\n", encoding="utf-8")
