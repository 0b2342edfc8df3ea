"""The manifest of a step: its metadata, and checksums of all its files."""

import json
import zlib
from typing import Any

from etils import epath

from checkpoints import files

NAME = "manifest.json"
_BLOCK = 1 << 22


class DamagedError(Exception):
    """A step that is not what was saved; the message names the file and what is wrong."""


def write(folder: epath.Path, content: dict[str, Any]) -> None:
    """Write the manifest of everything that lies in ``folder``, when all of that will last.

    Args:
        folder: all other files of the step.
        content: what is known of the step, as JSON.
    """
    files.sync_below(folder)
    found = files.sizes(folder)
    checksums = files.for_each(lambda name: _checksum(folder / name), found)
    listed = {
        name: {"size": size, "crc32": crc32}
        for (name, size), crc32 in zip(found.items(), checksums, strict=True)
    }
    files.write(folder / NAME, _text({**content, "files": listed}).encode())


def read(folder: epath.Path) -> dict[str, Any]:
    """The content of the manifest.

    Raises:
        DamagedError: it is missing or not, byte for byte, what was written.
    """
    try:
        text = (folder / NAME).read_bytes().decode()
        content = json.loads(text)["step"]
        intact = isinstance(content, dict) and text == _text(content)
    except FileNotFoundError as error:
        raise DamagedError(f"{NAME} is missing") from error
    except (OSError, ValueError, TypeError, KeyError, RecursionError) as error:
        raise DamagedError(f"{NAME} cannot be read ({error})") from error
    if not intact:
        raise DamagedError(f"{NAME} has a wrong checksum")
    return content


def verify(folder: epath.Path) -> dict[str, Any]:
    """The content of the manifest, after reading every file that it lists.

    Raises:
        DamagedError: a file is missing, or differs in size or checksum.
    """
    content = read(folder)
    found = files.sizes(folder)

    def check(name: str, expected: dict[str, int]) -> None:
        if name not in found:
            raise DamagedError(f"{name} is missing")
        if found[name] != expected["size"]:
            raise DamagedError(f"{name} has {found[name]} bytes instead of {expected['size']}")
        try:
            if _checksum(folder / name) != expected["crc32"]:
                raise DamagedError(f"{name} has a wrong checksum")
        except OSError as error:
            raise DamagedError(f"{name} cannot be read ({error.strerror or error})") from error

    files.for_each(check, content["files"], content["files"].values())
    return content


def _text(content: dict[str, Any]) -> str:
    """The one way to write a content down, so that reading can compare every byte."""
    body = json.dumps(content, sort_keys=True)
    return f'{{"crc32": {zlib.crc32(body.encode())}, "step": {body}}}\n'


def _checksum(path: epath.Path) -> int:
    crc32 = 0
    with path.open("rb") as file:
        while block := file.read(_BLOCK):
            crc32 = zlib.crc32(block, crc32)
    return crc32
