"""One program at a time writes into a work folder."""

import contextlib
import errno
import sys
from collections.abc import Callable

import filelock
from etils import epath

from checkpoints import files

NAME = ".lock"
_NO_LOCKS = (errno.ENOSYS, errno.ENOTSUP, errno.ENOLCK)
"""What file systems without locks say."""


class NotLocked(Exception):
    """A folder whose lock cannot be had; the message says why, and what to do."""


class Held(NotLocked):
    """Another program holds it.

    Args:
        who: that program, as far as it is known.
    """

    def __init__(self, who: str = "") -> None:
        super().__init__(
            f"is in use: another command writes there{who and f' ({who})'}; give another "
            "--workdir, or wait for that command or stop it"
        )


class NoLock(NotLocked):
    """It cannot be locked.

    Args:
        reason: why.
    """

    def __init__(self, reason: str) -> None:
        super().__init__(f"cannot be locked ({reason}); choose another folder")


def hold(
    folder: epath.PathLike, lost: Callable[[], None]
) -> contextlib.AbstractContextManager[object]:
    """Hold the lock of a folder.

    In a bucket see ``bucket_lock``. Elsewhere it is the operating system's, on an empty file that
    stays: it ends with the process, in whatever way that ends. Where the file system has no locks,
    a line on stderr says so and nothing is locked; where it keeps them on each machine (object
    storage mounted by FUSE, mostly), only programs on the same machine are kept out. A network file
    system may hold the lock of a machine that has crashed for a minute or two.

    Args:
        folder: a work folder that exists, or one in a bucket.
        lost: called in another thread where a lock in a bucket was taken over, see there.

    Raises:
        Held: another program holds it.
        NoLock: it cannot be taken.
    """
    folder = epath.Path(folder)
    if not files.is_local(folder):
        from meta_train.run import bucket_lock

        return bucket_lock.hold(folder, lost)
    try:
        return filelock.FileLock(folder / NAME, timeout=0, fallback_to_soft=False).acquire()
    except filelock.Timeout as error:
        raise Held from error
    except OSError as error:
        if error.errno not in _NO_LOCKS:
            raise NoLock(f"{error.strerror}: {error.filename}") from error
        print(
            f"lopt: the file system of {folder} has no locks ({error.strerror}): nothing keeps a "
            "second command from writing there meanwhile",
            file=sys.stderr,
            flush=True,
        )
        return contextlib.nullcontext()
