"""The idx format of MNIST and its relatives.

A file is: two zero bytes, one byte for the element type (8 is uint8), one for the number of axes,
each axis's size as a big-endian 32-bit integer, then the elements in row-major order
(LeCun, Cortes and Burges, "The MNIST database of handwritten digits", file formats).
"""

import gzip
import math
import struct
import zlib
from pathlib import Path

import numpy as np

from tasks.datasets.errors import RawDataError

_UINT8 = 8


def parse_idx(data: bytes, num_axes: int, name: str = "idx data") -> np.ndarray:
    """Parse the bytes of an idx file of uint8 elements.

    Args:
        data: the whole file, decompressed.
        num_axes: number of axes that the file must have (3 for images, 1 for labels).
        name: what to call the file in an error.

    Returns:
        A uint8 array with ``num_axes`` axes.

    Raises:
        RawDataError: wrong magic number, or more or fewer bytes than the header says.
    """
    header = 4 + 4 * num_axes
    magic = bytes([0, 0, _UINT8, num_axes])
    if data[:4] != magic:
        raise RawDataError(
            f"{name} starts with {data[:4].hex(' ') or 'nothing'}, but an idx file of uint8 with "
            f"{num_axes} axes starts with {magic.hex(' ')}; is it the right file?"
        )
    if len(data) < header:
        raise RawDataError(f"{name} is truncated: {len(data)} bytes, its header needs {header}.")
    shape = struct.unpack(f">{num_axes}I", data[4:header])
    expected = header + math.prod(shape)
    if len(data) != expected:
        problem = "is truncated" if len(data) < expected else "has bytes after its end"
        raise RawDataError(
            f"{name} {problem}: {len(data)} bytes, but a header of shape {shape} needs {expected}."
        )
    return np.frombuffer(data, np.uint8, offset=header).reshape(shape)


def read_idx(path: Path, num_axes: int) -> np.ndarray:
    """Read an idx file, plain or gzip-compressed (told by content, not by name).

    Raises:
        RawDataError: the file cannot be read, decompressed or parsed.
    """
    try:
        data = path.read_bytes()
        if data[:2] == b"\x1f\x8b":
            data = gzip.decompress(data)
    except (OSError, EOFError, zlib.error) as error:
        raise RawDataError(f"{path} cannot be read ({error}); fetch it again.") from error
    return parse_idx(data, num_axes, str(path))
