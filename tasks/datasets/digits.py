"""The 1,797 handwritten 8 x 8 digits that ship inside scikit-learn: no download needed.

Alpaydin and Kaynak, "Optical Recognition of Handwritten Digits" (1998), test part.
"""

import gzip
import os

import numpy as np

from tasks.datasets.dataset import Dataset, from_arrays
from tasks.datasets.embedded import EMBEDDED, embedded_path


def load_digits(data_dir: str | os.PathLike | None = None) -> Dataset:
    """Load the digits: 1,197 train, 300 valid and 300 test examples, pixels from 0 to 16.

    Args:
        data_dir: not used; the data come with scikit-learn.

    Raises:
        MissingData: scikit-learn is not installed.
    """
    del data_dir
    # One row per digit: 64 pixels, then the label.
    with gzip.open(embedded_path(EMBEDDED["digits"].path), "rt") as file:
        table = np.loadtxt(file, delimiter=",", dtype=np.uint8)
    images = table[:, :-1].reshape(-1, 8, 8)
    return from_arrays(images, table[:, -1], num_classes=10, num_valid=300, num_test=300)
