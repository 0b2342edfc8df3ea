"""Which data sets can be prepared: their names, shapes, labels and where they are published."""

from typing import NamedTuple


class Spec(NamedTuple):
    """A published data set in the layout of TensorFlow Datasets (TFDS)."""

    name: str
    version: str
    """Version under which TFDS stores it: ``data_dir/name/version``."""
    shape: tuple[int, int, int]
    num_examples: int
    labels: tuple[str, ...]
    raw: str
    """What ``from_dir`` must hold, in words."""
    urls: dict[str, str]
    """Published file of each role; TFDS knows the checksum of each."""


_IDX_ROLES = (
    "train-images-idx3-ubyte",
    "train-labels-idx1-ubyte",
    "t10k-images-idx3-ubyte",
    "t10k-labels-idx1-ubyte",
)
_IDX_RAW = ", ".join(_IDX_ROLES) + " (plain or .gz)"
_MNIST = "https://storage.googleapis.com/cvdf-datasets/mnist/"
_FASHION = "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/"

SPECS: dict[str, Spec] = {
    "mnist": Spec(
        name="mnist",
        version="3.0.1",
        shape=(28, 28, 1),
        num_examples=70_000,
        labels=tuple(str(digit) for digit in range(10)),
        raw=_IDX_RAW,
        urls={role: f"{_MNIST}{role}.gz" for role in _IDX_ROLES},
    ),
    "fashion_mnist": Spec(
        name="fashion_mnist",
        version="3.0.1",
        shape=(28, 28, 1),
        num_examples=70_000,
        labels=(
            "T-shirt/top",
            "Trouser",
            "Pullover",
            "Dress",
            "Coat",
            "Sandal",
            "Shirt",
            "Sneaker",
            "Bag",
            "Ankle boot",
        ),
        raw=_IDX_RAW,
        urls={role: f"{_FASHION}{role}.gz" for role in _IDX_ROLES},
    ),
    "cifar10": Spec(
        name="cifar10",
        version="3.0.2",
        shape=(32, 32, 3),
        num_examples=60_000,
        labels=(
            "airplane",
            "automobile",
            "bird",
            "cat",
            "deer",
            "dog",
            "frog",
            "horse",
            "ship",
            "truck",
        ),
        raw="cifar-10-binary.tar.gz, or data_batch_1.bin .. data_batch_5.bin and test_batch.bin, "
        "or the same as PNG sheets with train_labels.json and test_labels.json",
        urls={"archive": "https://www.cs.toronto.edu/~kriz/cifar-10-binary.tar.gz"},
    ),
}
"""Data sets that ``prepare`` can write and ``load`` can read."""
