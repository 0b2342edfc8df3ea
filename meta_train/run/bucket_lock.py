"""One program at a time writes into a folder of a bucket.

A bucket has no locks that end with a process. So the holder of one writes an object again and
again, each time on the condition that it is as the holder has left it; whoever finds one waits
until it either changes, and gives way, or has become stale, and takes it over. What decides is the
object's generation, the number that Google Cloud Storage gives to every write: no clocks are
compared.
"""

import contextlib
import os
import socket
import sys
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from etils import epath

from meta_train.run.folder_lock import NAME, Held, NoLock

RENEW_SECONDS = 10.0
STALE_SECONDS = 35.0
"""After more than three renewals, two of which the network may lose."""
_POLL_SECONDS = 1.0


@contextlib.contextmanager
def hold(folder: epath.Path, lost: Callable[[], None]) -> Iterator[None]:
    """Hold the lock of a folder.

    A lock that a dead process has left is taken over: at once if it ran on this machine, which
    knows, else when it has not changed for ``STALE_SECONDS``.

    Args:
        folder: in a bucket.
        lost: called in another thread where this process was stopped, or cut off, for so long that
            another one has taken over: it must write no more.

    Raises:
        Held: another program holds it.
        NoLock: the bucket cannot be written, or not be reached.
    """
    try:
        lock = _Lock(folder)
        lock.take()
    except Held:
        raise
    except Exception as error:  # of the storage, the login, the network: no base in common
        raise NoLock(str(error)) from error
    ended = threading.Event()
    renewing = threading.Thread(target=_renew, args=(lock, ended, lost), daemon=True)
    renewing.start()
    try:
        yield
    finally:
        ended.set()
        renewing.join()
        with contextlib.suppress(Exception):  # it becomes stale
            lock.let_go()


def _renew(lock: "_Lock", ended: threading.Event, lost: Callable[[], None]) -> None:
    while not ended.wait(RENEW_SECONDS):
        try:
            lock.write()
        except Held:
            return lost()
        except Exception:  # of the network, for which the next try may be early enough
            continue


class _Lock:
    """The object, whose metadata say who holds it."""

    def __init__(self, folder: epath.Path) -> None:
        # gcsfs, without which there is no such folder, brings it.
        from google.cloud import storage  # pyright: ignore

        bucket, _, path = os.fspath(folder).removeprefix("gs://").partition("/")
        self._bucket = storage.Client().bucket(bucket)
        self._name = f"{path}/{NAME}".lstrip("/")
        self._mine = {
            "id": uuid.uuid4().hex,
            "host": socket.gethostname(),
            "process": str(os.getpid()),
            "started": _started(os.getpid()) or "",
            "machine": _machine(),
        }
        self._generation = 0
        """That it must have for this process to write it; 0 where there is none."""

    def take(self) -> None:
        """Write it, when it is free or stale."""
        holder, self._generation = self._read()
        if self._generation:
            runs = _runs(holder)
            if runs:
                raise Held(_words(holder))
            if runs is None:
                self._wait(holder)
        self.write()

    def write(self) -> None:
        """Write it, unless someone else has."""
        from google.api_core.exceptions import PreconditionFailed  # pyright: ignore

        blob = self._bucket.blob(self._name)
        blob.metadata = self._mine
        try:
            blob.upload_from_string(b"", if_generation_match=self._generation)
            self._generation = blob.generation
        except PreconditionFailed as error:
            holder, generation = self._read()
            if holder.get("id") != self._mine["id"]:
                raise Held(_words(holder)) from error
            self._generation = generation  # it was this process, and the answer got lost

    def let_go(self) -> None:
        """Remove it."""
        self._bucket.delete_blob(self._name, if_generation_match=self._generation)

    def _wait(self, holder: dict[str, str]) -> None:
        print(
            f"lopt: locked by {_words(holder)}; waiting up to {STALE_SECONDS:.0f} s to see whether "
            "that still runs",
            file=sys.stderr,
            flush=True,
        )
        until = time.monotonic() + STALE_SECONDS
        while time.monotonic() < until:
            time.sleep(_POLL_SECONDS)
            holder, generation = self._read()
            if generation not in (0, self._generation):
                raise Held(_words(holder))
            if generation == 0:
                self._generation = 0
                return

    def _read(self) -> tuple[dict[str, str], int]:
        """Who holds it, and its generation; 0 where nobody does."""
        blob: Any = self._bucket.get_blob(self._name)
        return ({}, 0) if blob is None else (blob.metadata or {}, blob.generation)


def _words(holder: dict[str, str]) -> str:
    return f"process {holder.get('process')} on {holder.get('host')}"


def _machine() -> str:
    """What the numbers of processes belong to, a boot and a namespace; "" where nothing tells."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
        return f"{boot} {os.readlink('/proc/self/ns/pid')}"
    except OSError:
        return ""


def _runs(holder: dict[str, str]) -> bool | None:
    """Whether the process of a lock still runs; None where that is not known here."""
    here = _machine()
    if not here or holder.get("machine") != here:
        return None
    return holder.get("started") == _started(holder.get("process", ""))


def _started(process: str | int) -> str | None:
    """When a process of this machine began, as numbers are given again; None where it is none."""
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[19]
    except OSError:
        return None
