"""The large half of the held-out suite: tasks with 100,000 to 1,000,000 parameters.

Seeds, steps and the budget of tuning are those of configs/held_out.py, so that both can be judged
together (python -m meta_train.evaluation.together). Baselines are fewer, because a search costs up
to a minute of one core on each task: those of the reference, and the strongest one of the suite.
The batch is 64 where the time of a step is judged: mlp_wide, mlp_deep, conv, autoencoder and
table_mlp.

Command: lopt evaluate runs/digits/bundle --config=held_out_large --workdir=runs/digits/large
Data: embedded; the text is the standard library's source, which differs between Python versions.
Machine: 2 cores of an AMD EPYC virtual machine with AVX-512.
Minutes: 31 for the baselines, 17 for four learned optimizers, on one core at other work.
Result: docs/evaluation.md has that of `general`.
"""

from ml_collections import ConfigDict

from configs import held_out

TASKS = {
    # 176,650 parameters, 0.4 ms for one step of Adam
    "mlp_wide": {"name": "digits_mlp", "hidden": (384, 384)},
    # 216,586, 0.5 ms
    "mlp_deep": {"name": "digits_mlp", "hidden": (256,) * 4},
    # 148,938, 1.1 ms
    "conv": {"name": "digits_conv", "channels": (64, 128, 64)},
    # 111,018, 1.5 ms
    "resnet": {"name": "digits_resnet", "channels": (48, 64), "batch_size": 32},
    # 152,074, 2.4 ms
    "vit": {"name": "digits_vit", "width": 64, "depth": 3, "batch_size": 16},
    # 202,064, 0.5 ms
    "autoencoder": {"name": "digits_autoencoder", "hidden": (512, 128), "latent": 16},
    # 140,034, 0.4 ms
    "table_mlp": {"name": "breast_cancer_mlp", "hidden": (256,) * 3, "batch_size": 64},
    # 156,256, 2.1 ms
    "lstm": {"name": "text_lstm", "width": 128, "length": 16, "batch_size": 16},
    # 245,472, 3.3 ms
    "transformer": {"name": "text_transformer", "width": 96, "depth": 2, "batch_size": 8},
    # 132,609, 1.8 ms
    "heat_equation_wide": {"name": "heat_equation", "hidden": (256,) * 3},
}
_CHANGED = ("mlp_wide", "lstm")


def get_config() -> ConfigDict:
    config = held_out.get_config()
    config.tasks = ConfigDict(TASKS)
    config.baselines = ConfigDict(
        {name: {} for name in ("adam", "adamw", "adamw_cosine", "schedule_free")}
        | held_out.CALIBRATED
    )
    config.axes = ConfigDict(
        {
            "horizon x3/10": {label: {"num_steps": 300} for label in _CHANGED},
            "declared num_steps x3": {label: {"declared_num_steps": 3000} for label in _CHANGED},
            "declared num_steps /3": {label: {"declared_num_steps": 333} for label in _CHANGED},
        }
    )
    return config
