"""Small synthetic raw files in the published formats, prepared once per session."""

import gzip
import json
import struct
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

import tasks

NUM_TRAIN, NUM_TEST = 300, 60


def idx_bytes(array: np.ndarray) -> bytes:
    header = bytes([0, 0, 8, array.ndim]) + struct.pack(f">{array.ndim}I", *array.shape)
    return header + array.astype(np.uint8).tobytes()


def synthetic(shape: tuple[int, ...], count: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Images whose brightness pattern depends on the label, so that they can be learned."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 10, count)
    patterns = np.random.default_rng(7).integers(0, 200, (10, *shape))
    images = patterns[labels] + rng.integers(0, 56, (count, *shape))
    return images.astype(np.uint8), labels.astype(np.uint8)


def write_idx_folder(folder: Path, suffix: str = "", seed: int = 0) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for part, count in (("train", NUM_TRAIN), ("t10k", NUM_TEST)):
        images, labels = synthetic((28, 28), count, seed + (part == "t10k"))
        for name, array in (
            (f"{part}-images-idx3-ubyte", images),
            (f"{part}-labels-idx1-ubyte", labels),
        ):
            data = idx_bytes(array)
            (folder / f"{name}{suffix}").write_bytes(gzip.compress(data) if suffix else data)
    return folder


def cifar_arrays() -> list[tuple[str, np.ndarray, np.ndarray]]:
    batches = [f"data_batch_{i}" for i in range(1, 6)] + ["test_batch"]
    return [(name, *synthetic((32, 32, 3), 60, seed)) for seed, name in enumerate(batches)]


def write_cifar_binary(folder: Path) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for name, images, labels in cifar_arrays():
        planes = images.transpose(0, 3, 1, 2).reshape(len(images), -1)
        rows = np.concatenate([labels[:, None], planes], axis=1)
        (folder / f"{name}.bin").write_bytes(rows.tobytes())
    return folder


def write_cifar_sheets(folder: Path) -> Path:
    from PIL import Image

    folder.mkdir(parents=True, exist_ok=True)
    labels: dict[str, list[int]] = {"train": [], "test": []}
    for name, images, batch_labels in cifar_arrays():
        Image.fromarray(images.reshape(-1, 1024, 3)).save(folder / f"{name}.png")
        labels["test" if name == "test_batch" else "train"] += batch_labels.tolist()
    for part, values in labels.items():
        (folder / f"{part}_labels.json").write_text(json.dumps(values))
    return folder


class RawWriters:
    """The writers as one fixture: test modules do not import each other."""

    idx_bytes = staticmethod(idx_bytes)
    idx_folder = staticmethod(write_idx_folder)
    cifar_binary = staticmethod(write_cifar_binary)
    cifar_sheets = staticmethod(write_cifar_sheets)
    num_train = NUM_TRAIN
    num_test = NUM_TEST


@pytest.fixture(scope="session")
def raw() -> type[RawWriters]:
    return RawWriters


@pytest.fixture(scope="session")
def data_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A TFDS data folder with small data sets of every name."""
    base = tmp_path_factory.mktemp("data")
    mnist = write_idx_folder(base / "raw" / "mnist")
    fashion = write_idx_folder(base / "raw" / "fashion", ".gz", seed=5)
    cifar = write_cifar_binary(base / "raw" / "cifar10")
    folder = base / "tfds"
    for name, source in (("mnist", mnist), ("fashion_mnist", fashion), ("cifar10", cifar)):
        tasks.prepare(name, folder, source)
    return folder


@pytest.fixture(scope="session")
def make_task(data_dir: Path) -> Callable[..., tasks.Task]:
    return lambda name, **overrides: tasks.make(name, data_dir=data_dir, **overrides)
