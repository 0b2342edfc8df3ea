"""The small half of the held-out suite, and every field of `lopt evaluate` with its default.

The large half is configs/held_out_large.py; docs/evaluation.md says what is measured and why.

Command: lopt evaluate runs/digits/bundle --config=held_out --workdir=runs/digits/held_out
Machine: 2 cores of an AMD EPYC virtual machine, one of them at other work.
Minutes: 11 on the other core with four bundles, tuned hyperparameters as shipped.
Result: of the loss ratio to the best of the reference, general has 0.79, schedule_free 0.84,
adamw_cosine 1.00, muon 1.02, schedule_free_calibrated 1.03, adam 1.05.
"""

import dataclasses
from collections.abc import Mapping
from dataclasses import field
from typing import Annotated, Any

from ml_collections import ConfigDict
from msgspec import Meta

from configs import Count, Index, Named, Positive, Section

_KINDS = ("digits_mlp_tanh", "digits_conv", "breast_cancer_mlp", "text_lstm", "quadratic_family")
"""Tasks of different kinds, whose horizons change."""
_CHEAP = ("digits_mlp_tanh", "breast_cancer_mlp", "digits_vae", "quadratic_family")
"""Those for the longer ones."""


def _on(labels: tuple[str, ...], **change: int) -> dict[str, dict[str, int]]:
    """The same change of several tasks."""
    return {label: dict(change) for label in labels}


CALIBRATED = {
    f"{name}_calibrated": {"name": name, "calibrated": True}
    for name in ("adam", "adamw_cosine", "schedule_free")
}
"""Baselines at one setting for all tasks."""


TASKS = {
    "digits_linear": {"name": "digits_mlp", "hidden": (), "data_seed": 1},
    "digits_mlp_tanh": {"name": "digits_mlp", "hidden": (32,), "activation": "tanh"},
    "digits_mlp_deep": {"name": "digits_mlp", "hidden": (32, 32, 32)},
    "digits_mlp_sigmoid": {"name": "digits_mlp", "activation": "sigmoid"},
    "digits_conv": {},
    "digits_resnet": {"channels": (8, 16), "batch_size": 32},
    "digits_vit": {"width": 16, "depth": 1, "batch_size": 32},
    "digits_autoencoder": {"hidden": (32,)},
    "digits_vae": {"hidden": (32,)},
    "breast_cancer_mlp": {},
    "diabetes_mlp": {},
    "wine_mlp": {},
    "text_lstm": {"width": 32, "length": 16},
    "text_transformer": {"width": 24, "depth": 1, "batch_size": 8},
    "breast_cancer_mixture": {},
    "wine_mixture": {},
    "heat_equation": {},
    "quadratic_family": {},
    "quadratic_noise_free": {"name": "quadratic_family", "dim": 30, "noise": 0.0},
}
BASELINES = {
    "adam": {},
    "adamw": {},
    "adamw_cosine": {},
    "lion": {},
    "muon": {},
    "schedule_free": {},
    "sgd_momentum": {},
    **CALIBRATED,
}
AXES = {
    "horizon x3/10": _on(_KINDS, num_steps=300),
    "horizon x3": _on(_CHEAP, num_steps=3000),
    "horizon x10": _on(_CHEAP[:2], num_steps=10000),
    "declared num_steps x3": _on(_KINDS, declared_num_steps=3000),
    "declared num_steps /3": _on(_KINDS, declared_num_steps=333),
    "width x4": {"digits_mlp_tanh": {"hidden": (128,)}},
    "depth x3": {"digits_mlp_tanh": {"hidden": (32, 32, 32)}},
    "batch_size x4": {"digits_mlp_tanh": {"batch_size": 256}},
}


@dataclasses.dataclass(frozen=True, kw_only=True)
class SuiteTask(Named):
    """A task by its name, its set, and its own fields. The name is the label by default."""

    set: str = "held_out"
    """"held_out", "validation" or "meta_training"; tasks of the last two are shown and left out of
    all aggregates. A task that a bundle lists in a set nearer to meta-training is refused."""
    num_steps: Count | None = None
    """Inner steps of its training runs. None: those of the evaluation."""
    declared_num_steps: Count | None = None
    """Inner steps that learned optimizers are told; baselines and their schedules keep the true
    ones. None: the true ones."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Tuning(Section):
    """How much each baseline is tuned on each task."""

    num_grid: Count = 10
    """Learning rates over the whole range, the other hyperparameters at their defaults."""
    num_random: Index = 10
    """Random trials of all hyperparameters near the best learning rate."""
    criterion: str = "mean_loss"
    """The training loss over all steps, or "final_valid_loss"."""
    on_axes: bool = False
    """Whether to tune anew on every axis; else the hyperparameters are those of the task."""
    use_shipped: bool = True
    """Whether to take hyperparameters that come with the package, where they fit."""
    multiplier: bool = False
    """Whether each bundle has a second row: its steps times a tuned factor."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class EvaluationConfig(Section):
    """An evaluation; the packaged suites fill in the tasks, baselines and axes."""

    seed: Index = 0
    """Initial parameters, batches and random search follow from it."""
    num_steps: Count = 1000
    """Inner steps of every training run."""
    num_seeds: Annotated[int, Meta(ge=2, description="at least 2")] = 5
    """Training runs of each optimizer on each task."""
    num_points: Count = 50
    """Recorded points of every run; the steps are a multiple of them."""
    valid_batches: Count = 8
    """Batches of the validation split at each recorded point."""
    data_dir: str | None = None
    """Folder of prepared data sets. None: that of `lopt data list`."""
    data_limit_mb: Positive | None = None
    """What the images of each task may take on a device. Of a larger data set there is one window,
    a random part of its train split. None: every data set is held whole."""
    imports: tuple[str, ...] = ()
    """Modules or .py files that register more optimizers, tasks and so on."""
    tasks: Mapping[str, SuiteTask] = field(default_factory=dict)
    """Tasks by label."""
    baselines: Mapping[str, Named] = field(default_factory=dict)
    """Hand-designed optimizers by label, each with a name and arguments. A name of `lopt list
    baselines` is tuned in all its hyperparameters that are not given; any other optimizer of optax
    in its learning rate. One whose learning_rate is given is not tuned, nor is one with
    calibrated = True: it has the one setting of `lopt calibrate` that comes with the package; or
    that in a folder of yours, calibrated = "DIR"."""
    reference: tuple[str, ...] = ("adam", "adamw", "adamw_cosine")
    """Labels of baselines. The target of a task is the final loss of the one of them that ends
    lowest; loss ratios are taken to the one with the lowest mean loss."""
    tuning: Tuning = field(default_factory=Tuning)
    axes: Mapping[str, Mapping[str, Mapping[str, Any]]] = field(default_factory=dict)
    """Generalisation: a name of the change -> {label of a task: {field: value}}. All optimizers
    face the changed task besides the task itself."""
    cache_dir: str | None = None
    """Tuned hyperparameters and curves of baselines are kept here and not computed again. None:
    $LOPT_CACHE_DIR or ~/.cache/lopt."""
    workers: Count | None = None
    """Training runs at a time. None: one per core on a CPU, else one per device."""


def get_config() -> Any:
    config: Any = ConfigDict(EvaluationConfig().to_dict(), type_safe=False)
    config.tasks = ConfigDict(TASKS)
    config.baselines = ConfigDict(BASELINES)
    config.axes = ConfigDict(AXES)
    return config
