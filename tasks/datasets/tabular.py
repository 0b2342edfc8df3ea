"""Small tables that ship inside scikit-learn: no download needed.

Breast cancer: Wolberg, Street and Mangasarian 1995 (diagnostic, Wisconsin). Wine: Forina et al.
1988 (PARVUS). Iris: Fisher 1936, doi:10.1111/j.1469-1809.1936.tb02137.x. Diabetes: Efron et al.
2004, "Least Angle Regression", doi:10.1214/009053604000000067.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import flax.struct
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Num

from tasks.checks import check_choice, check_int
from tasks.datasets.embedded import embedded_path
from tasks.datasets.splits import draw_rows, permutation, split_bounds
from tasks.datasets.subset import Subset

_FOLDER = "sklearn/datasets/data"


class Columns(NamedTuple):
    """A table as it is stored."""

    features: np.ndarray
    """[n, d]."""
    targets: np.ndarray
    """[n]; classes 0..num_classes - 1, or numbers."""
    num_classes: int | None
    """None where the targets are numbers."""


@flax.struct.dataclass
class Table:
    """A table in the order train (60 %), valid (20 %), test (20 %), after one fixed shuffle.

    Features, and targets that are numbers, have mean 0 and standard deviation 1 over the train
    split.

    Attributes:
        features: float32 [n, d].
        targets: int32 [n] classes, or float32 [n].
        num_classes: number of classes; None where the targets are numbers.
        subset: what training draws from; None is the whole train split.
    """

    features: Any
    targets: Any
    num_classes: int | None = flax.struct.field(pytree_node=False)
    subset: Subset | None = None

    def bounds(self, split: str) -> tuple[int, int]:
        """First row of a split and the row after its last.

        Raises:
            ValueError: the split is unknown.
        """
        rows = self.features.shape[0]
        return split_bounds(split, rows - 2 * (rows // 5), rows // 5, rows)

    def draw(
        self, key: jax.Array, split: str, batch_size: int
    ) -> tuple[Float[Array, "batch d"], Num[Array, " batch"]]:
        """Draw features [B, d] and targets [B] with replacement; traced."""
        subset = self.subset if split == "train" else None
        index = draw_rows(key, *self.bounds(split), batch_size, subset)
        features = self.features.at[index].get(mode="promise_in_bounds")
        targets = self.targets.at[index].get(mode="promise_in_bounds")
        if subset is not None:
            targets = subset.noisy(targets, index.astype(jnp.uint32), self.num_classes)
        return features, targets


def load_table(name: str, data_seed: int) -> Table:
    """Load a table of the registry, deal its splits and move it to the default device.

    Args:
        name: a name in ``TABLES``.
        data_seed: another seed deals the splits anew.

    Raises:
        ValueError: the name is unknown or the seed no integer of at least 0.
        MissingData: scikit-learn is not installed.
    """
    check_choice("table", name, TABLES)
    columns = TABLES[name]()
    order = permutation(len(columns.features), check_int("data_seed", data_seed, 0))
    features, targets = columns.features[order], columns.targets[order]
    num_train = len(features) - 2 * (len(features) // 5)
    features = _standardised(features, num_train)
    if columns.num_classes is None:
        targets = _standardised(targets, num_train)
    else:
        targets = targets.astype(np.int32)
    return Table(jnp.asarray(features), jnp.asarray(targets), columns.num_classes)


def _standardised(values: np.ndarray, num_train: int) -> np.ndarray:
    train = values[:num_train]
    std = train.std(axis=0)
    return ((values - train.mean(axis=0)) / np.where(std > 0, std, 1)).astype(np.float32)


def _classes(file: str) -> Columns:
    """Rows of features and a class; the first line has counts and the names of the classes."""
    path = embedded_path(f"{_FOLDER}/{file}")
    with path.open(encoding="utf-8") as stream:
        names = stream.readline().strip().split(",")[2:]
    rows = np.loadtxt(path, delimiter=",", skiprows=1)
    return Columns(rows[:, :-1], rows[:, -1], len(names))


def _diabetes() -> Columns:
    files = ("diabetes_data_raw.csv.gz", "diabetes_target.csv.gz")
    features, targets = (np.loadtxt(embedded_path(f"{_FOLDER}/{file}")) for file in files)
    return Columns(features, targets, None)


TABLES: dict[str, Callable[[], Columns]] = {
    "breast_cancer": lambda: _classes("breast_cancer.csv"),
    "wine": lambda: _classes("wine_data.csv"),
    "iris": lambda: _classes("iris.csv"),
    "diabetes": _diabetes,
}
"""Registry of tables by name."""
