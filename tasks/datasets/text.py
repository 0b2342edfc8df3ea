"""A text as a device-resident array of characters.

By default the text is the source of the running Python's standard library, which needs no download
and differs from one Python version to the next: compare losses under one version only. It is
reduced to printable ASCII and line feeds, 96 characters, so that networks have the same size under
every version. The vocabulary of a file is its distinct bytes.
"""

import os
import sysconfig
from pathlib import Path
from typing import Any

import flax.struct
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Int

from tasks.datasets.errors import MissingData
from tasks.datasets.splits import draw_rows, split_bounds
from tasks.datasets.subset import Subset

_PRINTABLE = bytes([10, *range(32, 127)])


@flax.struct.dataclass
class Text:
    """A text in the order train (first 90 %), valid (5 %), test (5 %).

    Attributes:
        characters: uint8 [n], indices into ``vocabulary``.
        vocabulary: the bytes that they stand for, in order.
        subset: where the passages may start that training draws; None is anywhere.
    """

    characters: Any
    vocabulary: bytes = flax.struct.field(pytree_node=False)
    subset: Subset | None = None

    def bounds(self, split: str) -> tuple[int, int]:
        """First position of a split and the position after its last.

        Raises:
            ValueError: the split is unknown.
        """
        length = self.characters.shape[0]
        return split_bounds(split, length * 9 // 10, length // 20, length)

    def draw(
        self, key: jax.Array, split: str, batch_size: int, length: int
    ) -> Int[Array, "batch length"]:
        """Draw passages that start anywhere in a split and end within it; traced.

        Args:
            key: typed PRNG key.
            split: "train", "valid" or "test".
            batch_size: number of passages B.
            length: characters of each.

        Returns:
            int32 indices into ``vocabulary``.
        """
        start, stop = self.bounds(split)
        subset = self.subset if split == "train" else None
        first = draw_rows(key, start, stop - length + 1, batch_size, subset)
        index = first[:, None] + jnp.arange(length, dtype=jnp.int32)[None]
        return self.characters.at[index].get(mode="promise_in_bounds").astype(jnp.int32)


def load_text(path: str | os.PathLike | None, num_chars: int, longest: int) -> Text:
    """Load the first characters of a text, and move them to the default device.

    Args:
        path: a file, read as bytes; None takes the standard library's source.
        num_chars: bytes to keep, at most.
        longest: length of the longest passage that will be drawn.

    Raises:
        ValueError: the file cannot be read, or the text is too short or all one character.
        MissingData: the standard library comes without its source.
    """
    if path is None:
        source, raw = "the standard library", _standard_library(num_chars)
        vocabulary = _PRINTABLE
    else:
        source, raw = os.fspath(path), _read(Path(path), num_chars)
        vocabulary = bytes(sorted(set(raw)))
    if len(raw) // 20 < longest:
        raise ValueError(
            f"{source} gives {len(raw)} characters, too few for passages of {longest} in 5 % of "
            f"them; give at least {20 * longest} characters or a smaller length."
        )
    if len(vocabulary) < 2:
        raise ValueError(f"{source} holds one character over and over; give another text.")
    characters = np.searchsorted(np.frombuffer(vocabulary, np.uint8), np.frombuffer(raw, np.uint8))
    return Text(jnp.asarray(characters.astype(np.uint8)), vocabulary)


def _read(path: Path, num_chars: int) -> bytes:
    try:
        with path.expanduser().open("rb") as file:
            return file.read(num_chars)
    except OSError as error:
        raise ValueError(
            f"path = {os.fspath(path)!r} cannot be read ({error.strerror}); give a text file."
        ) from error


def _standard_library(num_chars: int) -> bytes:
    """Top-level modules of the standard library, one after the other by name."""
    folder = Path(sysconfig.get_path("stdlib"))
    parts: list[bytes] = []
    for path in sorted(folder.glob("*.py")):
        if sum(map(len, parts)) >= num_chars:
            break
        source = path.read_text(encoding="utf-8", errors="replace")
        parts.append(_to_printable(source))
    if not parts:
        raise MissingData(f"{folder} holds no Python source; give a text file as path.")
    return b"".join(parts)[:num_chars]


def _to_printable(source: str) -> bytes:
    """One byte per character; anything but printable ASCII and line feeds becomes "?"."""
    encoded = source.encode("ascii", errors="replace")
    return encoded.translate(bytes(b if b in _PRINTABLE else ord("?") for b in range(256)))
