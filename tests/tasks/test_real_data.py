"""The real data sets, where LOPT_TEST_RAW_DIR holds their raw files in DIR/mnist and so on."""

import os
from pathlib import Path

import numpy as np
import pytest

import tasks
from tasks.datasets.raw import find_raw, read_raw
from tasks.datasets.specs import SPECS

RAW = os.environ.get("LOPT_TEST_RAW_DIR")
pytestmark = pytest.mark.skipif(RAW is None, reason="LOPT_TEST_RAW_DIR is not set")

MNIST_COUNTS = [5923, 6742, 5958, 6131, 5842, 5421, 5918, 6265, 5851, 5949]


@pytest.mark.parametrize(
    ("name", "counts", "mean", "std"),
    [
        ("mnist", MNIST_COUNTS, [0.13066 * 255], [0.30811 * 255]),
        ("fashion_mnist", [6000] * 10, [0.28604 * 255], [0.35302 * 255]),
        ("cifar10", [5000] * 10, [125.3069, 122.9504, 113.8654], None),
    ],
)
def test_counts_and_moments(name, counts, mean, std):
    data = read_raw(SPECS[name], find_raw(SPECS[name], Path(RAW) / name))
    assert np.bincount(data.train_labels).tolist() == counts
    pixels = data.train_images.reshape(-1, data.train_images.shape[-1])
    np.testing.assert_allclose(pixels.mean(axis=0), mean, rtol=5e-5)
    if std is not None:
        np.testing.assert_allclose(pixels.std(axis=0), std, rtol=5e-5)
    assert len(data.test_images) == 10_000


@pytest.mark.slow
def test_prepared_mnist_has_the_published_sizes(tmp_path):
    tasks.prepare("mnist", tmp_path, Path(RAW) / "mnist")
    data = tasks.load("mnist", tmp_path)
    assert [data.bounds(split) for split in tasks.SPLITS] == [
        (0, 55_000),
        (55_000, 60_000),
        (60_000, 70_000),
    ]
