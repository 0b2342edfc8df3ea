"""What is measured: the stated set of cases."""

import dataclasses
import fnmatch
from collections.abc import Iterable, Mapping
from typing import Any

SHAPES = {"digits": (8, 8, 1), "mnist": (28, 28, 1), "cifar10": (32, 32, 3)}
"""Height, width and channels of the images of each data set."""
HORIZON = 1000
STD = 0.01
SIZES = ("1e6", "1e7")
"""Parameters to which optimizers are applied."""
KERNELS = ("mlp", "adafac_mlp", "schedule_free_mlp")
"""Optimizers that have kernels."""


@dataclasses.dataclass(frozen=True)
class Case:
    """One thing that is measured.

    Args:
        name: of its group and its own, with slashes between; cases of a group take turns.
        kind: "meta_step", whole meta-steps; "start", the command up to its first meta-step;
            "apply", one update by an optimizer, beside optax.adam.
        config: of "meta_step" and "start": in what it differs from the base config.
        packaged: the name of a packaged config that stands in the place of ``config``.
        reference: the same for the reference framework; None where it is not measured there.
        optimizer: of "apply": a name in ``lopt.LOPTS``.
    """

    name: str
    kind: str = "meta_step"
    config: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    packaged: str = ""
    reference: Mapping[str, Any] | None = None
    optimizer: str = ""
    update_kernel: str = "jnp"
    """Of "apply", see ``lopt.kernels``."""
    usual: bool = True
    """Whether it is measured if no case is named."""


def _training(
    dataset: str,
    hidden: tuple[int, ...],
    batch_size: int,
    length: int,
    optimizer: str,
    estimator: str = "pes",
    num_pairs: int = 8,
) -> dict[str, Any]:
    """The fields of a config: an MLP on images, T = 1000."""
    return {
        "optimizer": {"name": optimizer},
        "tasks": {f"{dataset}_mlp": {"hidden": hidden, "batch_size": batch_size}},
        "estimator": {
            "name": estimator,
            "horizon": HORIZON,
            "truncation_length": length,
            "num_pairs": num_pairs,
            "std": STD,
        },
    }


_TASKS = {
    "digits": ("digits", (32,), 64, 20),
    "mnist": ("mnist", (32,), 128, 20),
    "cifar10": ("cifar10", (128, 128, 128), 128, 4),
}
"""Data set, hidden widths, batch size, K."""


def _side_by_side(task: str, optimizer: str) -> Case:
    """A case that the reference framework has as well."""
    dataset, hidden, batch_size, length = _TASKS[task]
    reference = {
        "shape": SHAPES[dataset],
        "hidden": hidden,
        "batch_size": batch_size,
        "truncation_length": length,
        "horizon": HORIZON,
        "num_pairs": 8,
        "std": STD,
        "optimizer": optimizer,
    }
    config = _training(dataset, hidden, batch_size, length, optimizer)
    return Case(f"{task}/{optimizer}", config=config, reference=reference)


def _digits(suffix: str, length: int = 20, **fields: Any) -> Case:
    config = _training("digits", (32,), 64, length, "mlp", **fields)
    return Case(f"digits/mlp/{suffix}", config=config)


def _applied(optimizer: str, usual: bool = False) -> list[Case]:
    names = (f"apply/{optimizer}/{size}" for size in SIZES)
    return [Case(name, "apply", optimizer=optimizer, usual=usual) for name in names]


def _by_kernel(optimizer: str) -> list[Case]:
    """The same by a Pallas kernel, which only accelerators run at any speed."""
    return [
        dataclasses.replace(case, name=f"{case.name}/pallas", update_kernel="pallas")
        for case in _applied(optimizer)
    ]


def _table(cases: Iterable[Case]) -> dict[str, Case]:
    return {case.name: case for case in cases}


CASES: dict[str, Case] = _table(
    (
        _side_by_side("digits", "mlp"),
        _digits("pairs=32", num_pairs=32),
        _digits("pairs=256", num_pairs=256),
        _digits("K=4", 4),
        _digits("K=50", 50),
        _digits("nres", estimator="nres"),
        _digits("truncated_bptt", estimator="truncated_bptt"),
        _side_by_side("digits", "adafac_mlp"),
        _side_by_side("mnist", "mlp"),
        _side_by_side("mnist", "adafac_mlp"),
        _side_by_side("cifar10", "mlp"),
        _side_by_side("cifar10", "adafac_mlp"),
        Case("digits/default", packaged="digits_mlp_pes"),
        Case("general", packaged="general"),
        Case("start/digits_mlp_pes", "start", packaged="digits_mlp_pes"),
        Case("start/mnist_mlp_pes", "start", packaged="mnist_mlp_pes"),
        *_applied("mlp", usual=True),
        *_applied("adafac_mlp", usual=True),
        *_applied("schedule_free_mlp", usual=True),
        *(case for name in KERNELS for case in _by_kernel(name)),
        *(
            case
            for name in ("lstm", "nn_adam", "rnn_mlp", "velo", "celo2", "celo2_base")
            for case in _applied(name)
        ),
    )
)
"""The stated set. ``general`` is the shipped rule on its meta-training mix."""


def select(patterns: Iterable[str]) -> list[Case]:
    """The cases that any pattern fits, in the order of ``CASES``; without patterns the usual ones.

    Raises:
        ValueError: a pattern that fits none.
    """
    patterns = list(patterns)
    for pattern in patterns:
        if not fnmatch.filter(CASES, pattern):
            raise ValueError(f"no case is {pattern!r}; known are: {', '.join(CASES)}")
    if not patterns:
        return [case for case in CASES.values() if case.usual]
    return [x for x in CASES.values() if any(fnmatch.fnmatch(x.name, p) for p in patterns)]
