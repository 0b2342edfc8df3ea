"""Data of the inner tasks: prepare once, load in under a second, keep on the device.

An outside file adds a data set by one line, ``DATASETS["name"] = loader``, where
``loader(data_dir)`` returns a ``Dataset`` (``from_arrays`` makes one, ``read_folder`` another).
"""

import functools
import os
from collections.abc import Callable
from typing import NamedTuple

from tasks.checks import check_choice
from tasks.datasets.dataset import Dataset, from_arrays
from tasks.datasets.digits import load_digits
from tasks.datasets.embedded import EMBEDDED, embedded_path
from tasks.datasets.errors import MissingData, RawDataError
from tasks.datasets.folder import read_folder
from tasks.datasets.mnist_5k import load_mnist_5k
from tasks.datasets.patches import load_patches
from tasks.datasets.preparation import prepare_spec
from tasks.datasets.specs import SPECS
from tasks.datasets.store import default_data_dir, load_prepared, ready_info, version_dir
from tasks.datasets.stream import data_limit

__all__ = [
    "DATASETS",
    "Dataset",
    "DatasetRow",
    "MissingData",
    "RawDataError",
    "data_limit",
    "default_data_dir",
    "from_arrays",
    "list_datasets",
    "load",
    "prepare",
    "read_folder",
]

DATASETS: dict[str, Callable[[str | os.PathLike | None], Dataset]] = {
    "digits": load_digits,
    "patches": load_patches,
    "mnist_5k": load_mnist_5k,
    "mnist": functools.partial(load_prepared, SPECS["mnist"]),
    "fashion_mnist": functools.partial(load_prepared, SPECS["fashion_mnist"]),
    "cifar10": functools.partial(load_prepared, SPECS["cifar10"]),
}
"""Registry of loaders by name: ``loader(data_dir) -> Dataset``."""


class DatasetRow(NamedTuple):
    """One line of ``list_datasets``."""

    name: str
    state: str
    """"ready", "missing", "embedded" (in an installed package) or "custom" (own loader)."""
    num_examples: int | None
    shape: tuple[int, int, int] | None
    """(h, w, c)."""
    num_bytes: int | None
    """On disk; None where it is missing or unknown."""
    where: str
    """Folder where it lies, or would lie."""


def load(name: str, data_dir: str | os.PathLike | None = None) -> Dataset:
    """Load a data set of the registry, with numpy leaves.

    Args:
        name: a name in ``DATASETS``; or, where it has a slash, a folder, see ``read_folder``.
        data_dir: TFDS data folder; None takes $TFDS_DATA_DIR or ~/tensorflow_datasets.

    Raises:
        ValueError: the name is unknown.
        MissingData: it is not prepared; the message says what to run.
        RawDataError: a file of the folder is not as it has to be.
    """
    if "/" in name:
        return read_folder(name)
    check_choice("data set", name, DATASETS)
    return DATASETS[name](data_dir)


def prepare(
    name: str,
    data_dir: str | os.PathLike | None = None,
    from_dir: str | os.PathLike | None = None,
) -> os.PathLike[str]:
    """Prepare a data set once; a second call finds it done and returns at once.

    Args:
        name: "mnist", "fashion_mnist" or "cifar10" (those inside packages need no preparation).
        data_dir: TFDS data folder, which may be in a bucket, gs://...; None takes $TFDS_DATA_DIR
            or ~/tensorflow_datasets.
        from_dir: folder with the raw files; None downloads them.

    Returns:
        The folder of the data set.

    Raises:
        ValueError: the name is unknown.
        RawDataError: a raw file is missing or damaged; the message names it.
        MissingData: no ``from_dir``, and the publisher cannot be reached (within 5 seconds).
        FileExistsError: something else lies where the data set belongs.
    """
    if name in EMBEDDED:
        return embedded_path(EMBEDDED[name].path).parent
    check_choice("data set", name, SPECS)
    return prepare_spec(SPECS[name], data_dir, from_dir)


def list_datasets(data_dir: str | os.PathLike | None = None) -> list[DatasetRow]:
    """Say what is there, without loading anything.

    Args:
        data_dir: TFDS data folder; None takes $TFDS_DATA_DIR or ~/tensorflow_datasets.
    """
    return [_row(name, data_dir) for name in DATASETS]


def _row(name: str, data_dir: str | os.PathLike | None) -> DatasetRow:
    if name in EMBEDDED:
        return _embedded_row(name)
    if name not in SPECS:
        return DatasetRow(name, "custom", None, None, None, "")
    spec = SPECS[name]
    folder = version_dir(spec, data_dir)
    info = ready_info(folder)
    if info is None:
        return DatasetRow(name, "missing", spec.num_examples, spec.shape, None, os.fspath(folder))
    count = sum(int(n) for split in info["splits"] for n in split["shardLengths"])
    size = sum(int(split["numBytes"]) for split in info["splits"])
    return DatasetRow(name, "ready", count, spec.shape, size, os.fspath(folder))


def _embedded_row(name: str) -> DatasetRow:
    data = EMBEDDED[name]
    try:
        path = embedded_path(data.path)
    except MissingData:
        return DatasetRow(name, "missing", data.num_examples, data.shape, None, data.path)
    size = path.stat().st_size
    where = os.fspath(path.parent)
    return DatasetRow(name, "embedded", data.num_examples, data.shape, size, where)
