"""Files of a work folder that grow: they do so on this machine, whatever storage the folder is on.

Nothing can be appended to an object in a bucket. So there the files are fetched when a run begins,
grow on this machine, and are uploaded whole whenever they are to last.
"""

import contextlib
import sqlite3
import tempfile
from collections.abc import Callable, Iterable
from pathlib import Path

from etils import epath

from checkpoints import files

_UNCOMMITTED = ("-journal", "-wal", "-shm")
"""Ends of the names of files that SQLite has beside a database while it is written to."""


class Staging:
    """Where the growing files of a work folder are written.

    Args:
        folder: the work folder.
        names: files and folders in it, everything where none is named.

    Attributes:
        folder: where to write them; the work folder itself unless that is in a bucket.
    """

    def __init__(self, folder: epath.PathLike, names: Iterable[str] = ()) -> None:
        self._target = epath.Path(folder)
        self._names = frozenset(names)
        self._lasting: dict[str, tuple[int, int]] = {}
        self._is_local = files.is_local(folder)
        if self._is_local:
            self.folder = Path(folder)
            return
        self._passing = tempfile.TemporaryDirectory(prefix="lopt-", ignore_cleanup_errors=True)
        self.folder = Path(self._passing.name) / self._target.name
        found = [name for name in files.sizes(folder) if self._is_ours(name)]
        self._for_each(found, self._fetch)
        self._lasting = self._states()

    def persist(self) -> None:
        """Let what is in the files now outlast this machine; they may grow meanwhile.

        Raises:
            OSError: it cannot be written.
        """
        states = self._states()
        changed = [name for name, state in states.items() if self._lasting.get(name) != state]
        self._for_each(changed, self._keep)
        self._for_each(self._lasting.keys() - states.keys(), self._drop)
        self._lasting = states

    def close(self) -> None:
        """Remove what this machine holds of a folder in a bucket."""
        if not self._is_local:
            self._passing.cleanup()

    def _states(self) -> dict[str, tuple[int, int]]:
        """Size and time of change of each file by its path, which tell whether it has changed."""
        found = {}
        for name in self._names or (".",):
            top = self.folder / name
            for path in [top, *top.rglob("*")]:
                if path.name.endswith(_UNCOMMITTED) or path.is_symlink() or not path.is_file():
                    continue
                with contextlib.suppress(FileNotFoundError):  # it has just gone
                    state = path.stat()
                    place = str(path.relative_to(self.folder))
                    found[place] = (state.st_size, state.st_mtime_ns)
        return found

    def _is_ours(self, name: str) -> bool:
        return not self._names or name.partition("/")[0] in self._names

    def _for_each(self, names: Iterable[str], do: Callable[[str], None]) -> None:
        try:
            files.for_each(do, names)
        except OSError:
            raise
        except Exception as error:  # of a bucket's transport
            raise OSError(str(error)) from error

    def _fetch(self, name: str) -> None:
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes((self._target / name).read_bytes())

    def _keep(self, name: str) -> None:
        path = self.folder / name
        with contextlib.suppress(FileNotFoundError):
            if self._is_local:
                files.sync(path)
                files.sync(path.parent)
            else:
                (self._target / name).write_bytes(_content(path))

    def _drop(self, name: str) -> None:
        if not self._is_local:
            (self._target / name).unlink(missing_ok=True)


def _content(path: Path) -> bytes:
    """What a file holds; of a database all that is committed, even while it is written to."""
    if path.suffix != ".db":
        return path.read_bytes()
    with contextlib.closing(sqlite3.connect(path)) as database:
        return database.serialize()
