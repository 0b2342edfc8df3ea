"""Where a bundle is: a folder, one of ``lopt/bundles`` by its name, or an address elsewhere."""

import os
from pathlib import Path
from typing import TYPE_CHECKING

from lopt import buckets, hub
from lopt.bundle_files import CONFIG

if TYPE_CHECKING:
    from lopt.buckets import Folder

FOLDER = Path(__file__).with_name("bundles")


def names() -> list[str]:
    """The names, sorted."""
    return sorted(file.parent.name for file in FOLDER.glob(f"*/{CONFIG}"))


def find(path: str | os.PathLike[str]) -> "Folder":
    """The folder of what may be a name.

    Args:
        path: a folder, also in a bucket (``lopt.buckets``); or, as a plain ``str``, a shipped name
            or an address on a hub (``lopt.hub``). A bundle or work folder of that name in the
            current directory comes first, so that a release that ships another name changes no
            program; "./NAME" and a ``Path`` are never taken for a name.

    Raises:
        ValueError: a ``str`` that is neither, or what ``lopt.hub.fetch`` or
            ``lopt.buckets.place`` refuses.
    """
    if isinstance(path, str) and path.startswith(hub.PREFIX):
        return hub.fetch(path)
    if "://" in os.fspath(path):
        return buckets.place(path)
    if isinstance(path, str) and not os.path.isfile(os.path.join(path, CONFIG)):
        if path in names():
            return FOLDER / path
        if not os.path.exists(path):
            raise ValueError(
                f"{path!r} does not exist, and is not the name of a bundle that comes with lopt "
                f"either; those are {', '.join(names())}."
            )
    return Path(path)
