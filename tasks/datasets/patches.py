"""Patches of the two photographs that ship inside scikit-learn: no download needed.

"china.jpg" and "flower.jpg", 427 x 640 pixels, are cut into patches of 8 x 8. The label says from
which fifth of which photograph a patch comes, counted from the top: 10 classes, which overlap.
Photographs by danielbuechele and vultilion, CC BY 2.0.
"""

import os

import numpy as np

from tasks.datasets.dataset import Dataset, from_arrays
from tasks.datasets.embedded import embedded_path

_PHOTOGRAPHS = ("sklearn/datasets/images/china.jpg", "sklearn/datasets/images/flower.jpg")
_SIDE = 8  # pixels
_BANDS = 5


def load_patches(data_dir: str | os.PathLike | None = None) -> Dataset:
    """Load the patches, 8 x 8 x 3, each once: about 80 % train, 10 % valid and 10 % test.

    Args:
        data_dir: not used; the photographs come with scikit-learn.

    Raises:
        MissingData: scikit-learn is not installed.
    """
    del data_dir
    from PIL import Image  # only reading photographs needs it

    images, labels = [], []
    for number, file in enumerate(_PHOTOGRAPHS):
        with Image.open(embedded_path(file)) as photograph:
            pixels = np.asarray(photograph)
        rows, columns = (side // _SIDE for side in pixels.shape[:2])
        grid = pixels[: rows * _SIDE, : columns * _SIDE].reshape(rows, _SIDE, columns, _SIDE, 3)
        images.append(grid.transpose(0, 2, 1, 3, 4).reshape(-1, _SIDE * _SIDE * 3))
        bands = np.arange(rows) * _BANDS // rows
        labels.append(np.repeat(number * _BANDS + bands, columns))
    # Patches of plain sky recur.
    unique, first = np.unique(np.concatenate(images), axis=0, return_index=True)
    return from_arrays(
        unique.reshape(-1, _SIDE, _SIDE, 3),
        np.concatenate(labels)[first],
        num_classes=len(_PHOTOGRAPHS) * _BANDS,
    )
