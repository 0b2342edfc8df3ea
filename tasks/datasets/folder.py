"""A data set of one's own: a folder with two files of NumPy's format."""

import os
from pathlib import Path
from typing import Any

import numpy as np

from tasks.datasets.dataset import Dataset, normalisation
from tasks.datasets.errors import MissingData, RawDataError
from tasks.datasets.splits import permutation, split_sizes
from tasks.datasets.stored import StoredImages

IMAGES, LABELS = "images.npy", "labels.npy"
_MOST_CLASSES = 2**16


def read_folder(folder: str | os.PathLike) -> Dataset:
    """The data set in a folder, ``images.npy`` and ``labels.npy``; images are left in their file.

    The images are uint8 [n, h, w] or [n, h, w, c], the labels integers [n] from 0. The splits are
    dealt by one fixed shuffle: n // 10 examples, but at most 5,000, for valid and for test each.
    Images are normalised by mean and std of the first 65,536 examples of train.

    Raises:
        MissingData: a file is not there, or the folder is in a bucket.
        RawDataError: a file is not as described.
        ValueError: there are too few examples for three splits.
    """
    if "://" in os.fspath(folder):
        raise MissingData(f"{folder} must be a folder of this machine; copy it here first.")
    folder = Path(folder).expanduser()
    images, labels = _open(folder / IMAGES), _open(folder / LABELS)
    if images.dtype != np.uint8 or images.ndim not in (3, 4) or not images.flags.c_contiguous:
        raise RawDataError(
            f"{folder / IMAGES} holds {images.dtype} {images.shape}; it must be uint8 [n, h, w] or "
            "[n, h, w, c] in C order."
        )
    if labels.shape != images.shape[:1] or not np.issubdtype(labels.dtype, np.integer):
        raise RawDataError(
            f"{folder / LABELS} holds {labels.dtype} {labels.shape}; it must be integers "
            f"[{len(images)}], one for each of {IMAGES}."
        )
    if labels.min() < 0 or labels.max() >= _MOST_CLASSES:
        raise RawDataError(
            f"{folder / LABELS} holds labels from {labels.min()} to {labels.max()}; they must be "
            f"from 0 to {_MOST_CLASSES - 1}."
        )
    order = permutation(len(images), 0)
    num_valid, taken = split_sizes(len(images), None, None, takes_test=True)
    num_train, num_classes = len(images) - taken, max(2, int(labels.max()) + 1)
    height, width, *channels = images.shape[1:]
    shape = (height, width, channels[0] if channels else 1)
    stored = StoredImages(folder / IMAGES, images.offset, shape, order)
    scale, offset = normalisation(stored, num_train, shape)
    return Dataset(
        images=stored,
        labels=np.asarray(labels)[order].astype(np.uint8 if num_classes <= 256 else np.uint16),
        scale=scale,
        offset=offset,
        shape=shape,
        num_classes=num_classes,
        num_train=num_train,
        num_valid=num_valid,
        fixed_test=False,
    )


def _open(path: Path) -> Any:
    """The array of a file, of which the header has been read."""
    try:
        return np.load(path, mmap_mode="r", allow_pickle=False)
    except FileNotFoundError as error:
        raise MissingData(
            f"{path} is not there; a folder that is a data set holds {IMAGES} and {LABELS}."
        ) from error
    except (OSError, ValueError) as error:
        # NumPy takes whatever is not its own for a pickle, and tells how to execute it.
        raise RawDataError(f"{path} is no readable .npy file of numbers.") from error
