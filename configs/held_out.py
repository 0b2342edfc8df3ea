"""The small half of the held-out suite, and every field of `lopt evaluate` with its default.

The large half is configs/held_out_large.py; docs/evaluation.md says what is measured and why.

Command: lopt evaluate runs/digits/bundle --config=held_out --workdir=runs/digits/held_out
Machine: 2 cores of an AMD EPYC virtual machine, one of them at other work.
Minutes: 11 on the other core with four bundles, tuned hyperparameters as shipped.
Result: of the loss ratio to the best of the reference, general has 0.79, schedule_free 0.84,
adamw_cosine 1.00, muon 1.02, schedule_free_calibrated 1.03, adam 1.05.
"""

from typing import Any

from ml_collections import ConfigDict
from ml_collections.config_dict import FieldReference


def _any(default: Any) -> FieldReference:
    """A field that may hold values of several types, None among them."""
    return FieldReference(default, field_type=object)


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


def get_config() -> ConfigDict:
    config = ConfigDict()

    config.seed = 0  # initial parameters, batches and random search follow from it
    config.num_steps = 1000  # inner steps of every training run
    config.num_seeds = 5  # training runs of each optimizer on each task, at least 2
    config.num_points = 50  # recorded points of every run; the steps are a multiple of them
    config.valid_batches = 8  # batches of the validation split at each recorded point
    config.data_dir = _any(None)  # folder of prepared data sets; None: that of `lopt data list`
    config.imports = ()  # modules or .py files that register more optimizers, tasks, ...

    # Tasks by label: {name (the label by default), set, fields of the task}. The set is "held_out",
    # by default, "validation" or "meta_training"; those of the last two are shown and left out of
    # all aggregates. A task that a bundle lists in a set nearer to meta-training is refused.
    config.tasks = ConfigDict(
        {
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
    )

    # Hand-designed optimizers by label: {name, arguments}. A name of `lopt list baselines` is tuned
    # in all its hyperparameters that are not given; any other optimizer of optax in its learning
    # rate. One whose learning_rate is given is not tuned, nor is one with calibrated = True: it has
    # the one setting of `lopt calibrate` that comes with the package; or that in a folder of yours,
    # calibrated = "DIR".
    config.baselines = ConfigDict(
        {
            "adam": {},
            "adamw": {},
            "adamw_cosine": {},
            "lion": {},
            "muon": {},
            "schedule_free": {},
            "sgd_momentum": {},
            **CALIBRATED,
        }
    )
    # Labels of baselines. The target of a task is the final loss of the one of them that ends
    # lowest; loss ratios are taken to the one with the lowest mean loss.
    config.reference = ("adam", "adamw", "adamw_cosine")

    # How much each baseline is tuned on each task.
    config.tuning = ConfigDict(
        {
            "num_grid": 10,  # learning rates over the whole range, the rest at its defaults
            "num_random": 10,  # random trials of all hyperparameters near the best learning rate
            "criterion": "mean_loss",  # training loss over all steps; or "final_valid_loss"
            "on_axes": False,  # tune anew on every axis; else the hyperparameters of the task
            "use_shipped": True,  # take hyperparameters that come with the package, where they fit
            "multiplier": False,  # a second row of each bundle: its steps times a tuned factor
        }
    )

    # Generalisation: a name of the change -> {label of a task: {field: value}}; num_steps counts
    # as a field. All optimizers face the changed task besides the task itself. With
    # declared_num_steps learned optimizers are told this number of steps while the training runs
    # num_steps; baselines and their schedules keep the true one, so that their rows stay the same.
    config.axes = ConfigDict(
        {
            "horizon x3/10": _on(_KINDS, num_steps=300),
            "horizon x3": _on(_CHEAP, num_steps=3000),
            "horizon x10": _on(_CHEAP[:2], num_steps=10000),
            "declared num_steps x3": _on(_KINDS, declared_num_steps=3000),
            "declared num_steps /3": _on(_KINDS, declared_num_steps=333),
            "width x4": {"digits_mlp_tanh": {"hidden": (128,)}},
            "depth x3": {"digits_mlp_tanh": {"hidden": (32, 32, 32)}},
            "batch_size x4": {"digits_mlp_tanh": {"batch_size": 256}},
        }
    )

    # Tuned hyperparameters and curves of baselines are kept here and not computed again. None:
    # $LOPT_CACHE_DIR or ~/.cache/lopt.
    config.cache_dir = _any(None)
    # Training runs at a time; None: one per core on a CPU, else one per device.
    config.workers = _any(None)
    return config
