"""The manifest of a step: its metadata, and checksums of all its files."""

import json
import zlib
from pathlib import Path
from typing import Any

NAME = "manifest.json"
_BLOCK = 1 << 22


class DamagedError(Exception):
    """A step that is not what was saved; the message names the file and what is wrong."""


def write(folder: Path, content: dict[str, Any]) -> None:
    """Write the manifest of everything that lies in ``folder``.

    Args:
        folder: all other files of the step.
        content: what is known of the step, as JSON.
    """
    files = {
        str(path.relative_to(folder)): {"size": path.stat().st_size, "crc32": _checksum(path)}
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }
    (folder / NAME).write_text(_text({**content, "files": files}), encoding="utf-8")


def read(folder: Path) -> dict[str, Any]:
    """The content of the manifest.

    Raises:
        DamagedError: it is missing or not, byte for byte, what was written.
    """
    try:
        text = (folder / NAME).read_text(encoding="utf-8")
        content = json.loads(text)["step"]
        intact = isinstance(content, dict) and text == _text(content)
    except FileNotFoundError as error:
        raise DamagedError(f"{NAME} is missing") from error
    except (OSError, ValueError, TypeError, KeyError, RecursionError) as error:
        raise DamagedError(f"{NAME} cannot be read ({error})") from error
    if not intact:
        raise DamagedError(f"{NAME} has a wrong checksum")
    return content


def verify(folder: Path) -> dict[str, Any]:
    """The content of the manifest, after reading every file that it lists.

    Raises:
        DamagedError: a file is missing, or differs in size or checksum.
    """
    content = read(folder)
    for name, expected in content["files"].items():
        path = folder / name
        try:
            size = path.stat().st_size
            if size != expected["size"]:
                raise DamagedError(f"{name} has {size} bytes instead of {expected['size']}")
            if _checksum(path) != expected["crc32"]:
                raise DamagedError(f"{name} has a wrong checksum")
        except FileNotFoundError as error:
            raise DamagedError(f"{name} is missing") from error
        except OSError as error:
            raise DamagedError(f"{name} cannot be read ({error.strerror})") from error
    return content


def _text(content: dict[str, Any]) -> str:
    """The one way to write a content down, so that reading can compare every byte."""
    body = json.dumps(content, sort_keys=True)
    return f'{{"crc32": {zlib.crc32(body.encode())}, "step": {body}}}\n'


def _checksum(path: Path) -> int:
    crc32 = 0
    with path.open("rb") as file:
        while block := file.read(_BLOCK):
            crc32 = zlib.crc32(block, crc32)
    return crc32
