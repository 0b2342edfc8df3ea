"""The files of a bundle: read within limits, and written as a whole.

A bundle may come from a stranger. Its three files are read by name and no others, and each must be
a regular file in the folder that is not too large; nothing in them is executed. Whatever is wrong
with a file is a ``ValueError`` of one line.
"""

import collections
import json
import math
import os
import reprlib
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from lopt.buckets import Folder

WEIGHTS, CONFIG, README = "theta.safetensors", "config.json", "README.md"

MAX_CONFIG_BYTES = 4 * 2**20
MAX_NESTING = 32
"""Lists and mappings within each other in config.json."""
MAX_WEIGHTS_BYTES = 256 * 2**20
MAX_HEADER_BYTES = 2**20
"""Of theta.safetensors: the JSON at its beginning."""
MAX_TENSORS = 4096


def read_file(folder: "Folder", name: str, max_bytes: int) -> bytes:
    """The content of a regular file in a folder.

    Args:
        folder: of the bundle.
        name: of the file.
        max_bytes: larger files are refused, and not read further.

    Raises:
        ValueError: the file is missing, larger, unreadable, a device, a pipe or a folder, or a link
            to somewhere outside.
    """
    path = folder / name
    try:
        if isinstance(path, Path) and not _stays(path, folder):  # a bucket has no links
            raise ValueError(f"{path} is a link that leaves the folder; put the file itself there.")
        if not path.is_file():  # a pipe is not even opened: that would wait for a writer
            raise ValueError(f"{folder} is not a bundle: {name} is missing or no regular file.")
        with path.open("rb") as file:
            size = file.seek(0, os.SEEK_END)
            if size > max_bytes:
                raise ValueError(
                    f"{path} has {size:,} bytes; the limit is {max_bytes:,}, which no export "
                    "exceeds. Get the bundle anew from where it was exported."
                )
            file.seek(0)
            return file.read(max_bytes)
    except OSError as error:
        raise ValueError(f"{path} cannot be read: {error.strerror or error}.") from error


def parse_json(content: bytes, what: object) -> dict[str, Any]:
    """A JSON object without ambiguities, of plain numbers and limited depth.

    Args:
        content: UTF-8.
        what: names the content in errors.

    Raises:
        ValueError: it is no JSON object; a key stands twice in a mapping; a number is NaN or
            infinite; or it is nested more deeply than ``MAX_NESTING``.
    """
    try:
        value = json.loads(
            content.decode(),
            object_pairs_hook=_mapping,
            parse_float=_finite,
            parse_constant=_finite,
        )
    except RecursionError as error:
        raise ValueError(_too_deep(what)) from error
    except ValueError as error:
        raise ValueError(f"{what} is damaged: {in_brief(error)}.") from error
    if not isinstance(value, dict):
        raise ValueError(f"{what} is damaged: it holds {reprlib.repr(value)}, not a mapping.")
    _check_nesting(value, what)
    return value


def parse_weights(content: bytes, path: object) -> dict[str, np.ndarray]:
    """The arrays of a safetensors file by name.

    Args:
        content: of the file.
        path: names the file in errors.

    Raises:
        ValueError: it is not a safetensors file, or its header or number of arrays is too large.
    """
    from safetensors import SafetensorError
    from safetensors.numpy import load

    _check_header(content, path)
    try:
        return load(content)
    except (SafetensorError, KeyError, ValueError) as error:
        raise ValueError(f"{path} is not a safetensors file: {in_brief(error)}.") from error


def serialise(arrays: Mapping[str, np.ndarray]) -> bytes:
    """The content of a safetensors file."""
    from safetensors.numpy import save

    return save(dict(arrays))


def write_folder(path: "Folder", files: Mapping[str, bytes]) -> None:
    """Write a folder under a temporary name and then rename it into place.

    Args:
        path: an existing folder there is replaced. In a bucket, which cannot rename, config.json
            goes first and comes last: it has the checksum of the weights, so that nobody takes a
            part for the whole.
        files: content by name.
    """
    if not isinstance(path, Path):
        (path / CONFIG).unlink(missing_ok=True)
        for name in sorted(files, key=lambda name: name == CONFIG):
            (path / name).write_bytes(files[name])
        return
    path = path.absolute()
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{path.name}.", dir=path.parent) as scratch:
        new, old = Path(scratch) / "new", Path(scratch) / "old"
        new.mkdir()
        for name, content in files.items():
            with open(new / name, "wb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
        if path.exists():
            os.rename(path, old)
        try:
            os.rename(new, path)
        except OSError:
            if old.exists():
                os.rename(old, path)
            raise


def in_brief(text: object) -> str:
    """What may hold text of a stranger, in one line of at most 300 characters."""
    return " ".join(str(text).split())[:300]


def _stays(path: Path, folder: "Folder") -> bool:
    """Whether a file lies in the folder, following links."""
    file, root = (Path(os.path.realpath(x)) for x in (path, folder))
    # The cache of huggingface_hub: snapshots/COMMIT is a folder of links to files in blobs.
    is_cached = root.parent.name == "snapshots" and file.parent == root.parents[1] / "blobs"
    return is_cached or file.is_relative_to(root)


def _mapping(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    mapping = dict(pairs)
    if len(mapping) != len(pairs):
        ((key, _),) = collections.Counter(key for key, _ in pairs).most_common(1)
        raise ValueError(f"the key {reprlib.repr(key)} stands more than once in a mapping")
    return mapping


def _finite(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise ValueError(f"the number {reprlib.repr(text)} is not finite")
    return number


def _check_nesting(value: Any, what: object) -> None:
    level = [value]
    for _ in range(MAX_NESTING):
        level = [
            below
            for entry in level
            if isinstance(entry, dict | list)
            for below in (entry.values() if isinstance(entry, dict) else entry)
        ]
    if level:
        raise ValueError(_too_deep(what))


def _too_deep(what: object) -> str:
    return f"{what} is damaged: it is nested more than {MAX_NESTING} levels deep."


def _check_header(content: bytes, path: object) -> None:
    size, limit = int.from_bytes(content[:8], "little"), min(MAX_HEADER_BYTES, len(content) - 8)
    if not 0 < size <= limit:
        raise ValueError(
            f"{path} is not a safetensors file: its header would have {size:,} bytes, which must "
            f"be between 1 and {max(limit, 0):,}."
        )
    names = parse_json(content[8 : 8 + size], f"the header of {path}")
    if len(names) > MAX_TENSORS:
        raise ValueError(f"{path} holds {len(names):,} arrays; the limit is {MAX_TENSORS:,}.")
