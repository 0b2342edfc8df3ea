"""Folders in Google Cloud Storage, whose addresses are ``gs://bucket/path``.

``lopt.load``, ``lopt.save`` and the commands take them where they take folders, if the extra
``lopt[gcs]`` is installed. Who you are is found by Google's own rules: `gcloud auth
application-default login`, or the service account of the machine.
"""

import logging
import os
from pathlib import Path
from typing import TYPE_CHECKING

from lopt.bundle_files import in_brief

if TYPE_CHECKING:
    from etils import epath

    Folder = Path | epath.Path

_PREFIX = "gs://"


def place(path: str | os.PathLike[str]) -> "Folder":
    """A path as an object: pathlib's on this machine, that of ``etils.epath`` in a bucket.

    Nothing has to be there. Of a bucket it is made sure that it can be reached.

    Raises:
        ValueError: an address that is not in Google Cloud Storage, has no bucket, holds one of
            ``*?[``, or cannot be reached.
        ModuleNotFoundError: gcsfs is not installed.
    """
    address = os.fspath(path)
    if "://" not in address:
        return path if isinstance(path, Path) else Path(address)
    if not address.startswith(_PREFIX):
        raise ValueError(
            f"{address} is no folder: of storage in clouds only gs:// can be used, as Orbax writes "
            "checkpoints to no other; give gs://BUCKET/FOLDER, or a folder of a file system."
        )
    bucket = address.removeprefix(_PREFIX).partition("/")[0]
    if not bucket:
        raise ValueError(f"{address} names no bucket; give gs://BUCKET/FOLDER.")
    if found := set(address) & set("*?["):
        raise ValueError(
            f"{address} has {' '.join(sorted(found))} in it, which makes it a pattern to the "
            "library that opens buckets; choose another name."
        )
    try:
        import gcsfs  # pyright: ignore[reportMissingImports]
        from etils import epath
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(
            f"{address} needs {error.name}: pip install 'lopt[gcs]'", name=error.name
        ) from error
    # It logs what it raises, and a warning at every file of a bucket that it may not describe.
    logging.getLogger("gcsfs").setLevel(logging.CRITICAL)
    try:
        gcsfs.GCSFileSystem().ls(bucket, max_results=1)
    except FileNotFoundError as error:
        raise ValueError(f"{address}: there is no bucket {bucket}, or none for you.") from error
    except Exception as error:  # of the transport, the login and the storage: no base in common
        raise ValueError(f"{address} cannot be reached: {in_brief(error)}.") from error
    return epath.Path(address)
