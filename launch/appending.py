"""A text file that only grows, and loses nothing when the disk is full for a while."""

import os
from pathlib import Path


class AppendedFile:
    """Appends lines; what cannot be written is kept and tried again with the next line.

    Args:
        path: is created where it does not exist.
    """

    def __init__(self, path: Path) -> None:
        self._file = path.open("ab", buffering=0)
        self._size = path.stat().st_size
        self._pending = b""

    def append(self, line: str) -> None:
        """Write one line.

        Raises:
            OSError: it could not be written, and is kept.
        """
        self._pending += line.encode() + b"\n"
        self.flush()

    def flush(self) -> None:
        """Write what could not be written before.

        Raises:
            OSError: it still cannot be.
        """
        while self._pending:
            try:
                written = self._file.write(self._pending) or 0
            except OSError:
                os.ftruncate(self._file.fileno(), self._size)
                raise
            self._pending = self._pending[written:]
            self._size += written

    @property
    def size(self) -> int:
        """Bytes that the file has, or will have when everything is written."""
        return self._size + len(self._pending)

    def close(self) -> None:
        """Close the file; what could not be written is lost."""
        self._file.close()
