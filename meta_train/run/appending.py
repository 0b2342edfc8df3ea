"""A file that only grows, and loses nothing when the disk is full for a while."""

import os
from pathlib import Path


class AppendedFile:
    """Appends records; what cannot be written is kept and tried again with the next one.

    Args:
        path: is created where it does not exist.
    """

    def __init__(self, path: Path) -> None:
        self._file = path.open("ab", buffering=0)
        self._written = path.stat().st_size
        self._pending = b""

    def append(self, record: bytes) -> None:
        """Write one record.

        Raises:
            OSError: it could not be written, and is kept.
        """
        self._pending += record
        self.flush()

    def flush(self) -> None:
        """Write what could not be written before.

        Raises:
            OSError: it still cannot be; the file ends with the last whole record.
        """
        left = memoryview(self._pending)
        try:
            while left:
                left = left[self._file.write(left) or 0 :]
        except OSError:
            os.ftruncate(self._file.fileno(), self._written)
            raise
        self._written += len(self._pending)
        self._pending = b""

    @property
    def size(self) -> int:
        """Bytes that the file has, or will have when everything is written."""
        return self._written + len(self._pending)

    def close(self) -> None:
        """Close the file; what could not be written is lost."""
        self._file.close()
