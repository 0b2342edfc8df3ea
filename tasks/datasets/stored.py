"""Images in a file of NumPy's format, of which only those are read that are asked for.

So they need not fit into memory. They are read and not mapped into memory: pages of a map count as
the process's own until they are wanted elsewhere, and a file that becomes shorter meanwhile would
end the process by a signal.
"""

import dataclasses
import os
from pathlib import Path
from typing import Any

import numpy as np

_BLOCK = 4096  # images per block where float copies are made
_ALIGNMENT = 64  # bytes, of XLA's arrays


@dataclasses.dataclass(frozen=True, eq=False)
class StoredImages:
    """The images of a file in some order, like an array uint8 [n, h * w * c]; indexing reads.

    Attributes:
        path: the file, uint8 [m, h, w] or [m, h, w, c] in C order.
        offset: of its first image, in bytes.
        native: (h, w, c) in the file.
        order: int64 [n], which image of the file each one is.
        size: side to which they are averaged down as they are read, in pixels; None keeps them.
    """

    path: Path
    offset: int
    native: tuple[int, int, int]
    order: np.ndarray
    size: int | None = None

    @property
    def shape(self) -> tuple[int, int]:
        """(n, h * w * c)."""
        height, width, channels = self.native
        pixels = height * width if self.size is None else self.size**2
        return len(self.order), pixels * channels

    @property
    def nbytes(self) -> int:
        """What all of them take in memory."""
        return self.shape[0] * self.shape[1]

    def __len__(self) -> int:
        return len(self.order)

    def __getitem__(self, index: Any) -> np.ndarray:
        """Read images by a slice or an array of places; uint8 [b, h * w * c].

        Raises:
            OSError: the file cannot be read, or has become shorter.
        """
        places = self.order[index]
        num_bytes = int(np.prod(self.native))
        images = _aligned(len(places), num_bytes)
        flat, ordered = images.reshape(-1).data, np.argsort(places)  # in the order of the file
        starts = self.offset + places[ordered] * num_bytes
        with open(self.path, "rb", buffering=0) as file:
            for i, start in zip((ordered * num_bytes).tolist(), starts.tolist(), strict=True):
                if os.preadv(file.fileno(), [flat[i : i + num_bytes]], start) != num_bytes:
                    raise OSError(f"{self.path} has become shorter; put back the whole file")
        return images if self.size is None else shrink(images, self.native, self.size)

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        """All of them."""
        del copy
        return self[:].astype(dtype or np.uint8, copy=False)

    def reordered(self, order: np.ndarray) -> "StoredImages":
        """The images ``self[order]``, unread."""
        return dataclasses.replace(self, order=self.order[order])

    def shrunk(self, size: int) -> "StoredImages":
        """The images averaged down to size x size, unread."""
        return dataclasses.replace(self, size=size)


def _aligned(count: int, width: int) -> np.ndarray:
    """An empty array uint8 [count, width] that XLA takes on a CPU without copying it."""
    buffer = np.empty(count * width + _ALIGNMENT, np.uint8)
    start = -buffer.ctypes.data % _ALIGNMENT
    return buffer[start : start + count * width].reshape(count, width)


def shrink(images: np.ndarray, shape: tuple[int, int, int], size: int) -> np.ndarray:
    """Average images over area, rounded to uint8.

    Args:
        images: uint8 [n, h * w * c].
        shape: (h, w, c).
        size: side in pixels, at most h and w.

    Returns:
        uint8 [n, size * size * c].
    """
    height, width, channels = shape
    rows, columns = _area_weights(height, size), _area_weights(width, size)
    small = np.empty((len(images), size * size * channels), np.uint8)
    for start in range(0, len(images), _BLOCK):
        block = images[start : start + _BLOCK].reshape(-1, height, width * channels)
        block = (rows @ block.astype(np.float32)).reshape(-1, width, channels)
        small[start : start + _BLOCK] = np.rint(columns @ block).reshape(-1, small.shape[-1])
    return small


def _area_weights(native: int, size: int) -> np.ndarray:
    """Float32 [size, native]: share of each native pixel in the average of a new one."""
    step = native / size
    low = np.arange(size)[:, None] * step
    pixel = np.arange(native)[None, :]
    overlap = np.minimum(low + step, pixel + 1) - np.maximum(low, pixel)
    return (np.clip(overlap, 0, None) / step).astype(np.float32)
