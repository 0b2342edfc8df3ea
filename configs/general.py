"""The general-purpose optimizer that comes with the package as `general`, for tasks of any kind.

Command: lopt meta-train --config=general --workdir=runs/general
Data: embedded.
Machine: one core of an AMD EPYC virtual machine with AVX-512 (--config.devices.count=1).
Minutes: 48 to 55, at other work on the other core; 7 to 15 until the first
meta-step, which compile and measure the first theta.
Result: the meta-loss on its validation tasks, T from 200 to 2,000, is 0.95 of the first theta's
after 400 meta-steps, with two other meta-seeds 1.00 and 0.96. docs/evaluation.md has the held-out
suite.
"""

from ml_collections import ConfigDict

from configs import base

_USUAL = {"init_scale": (0.7, 1.4), "reparam": (0.7, 1.4)}
"""Networks of images start near their usual initialisation; others vary by twice as much."""
TASKS = {
    "patches_mlp_family": _USUAL,
    "patches_mlp_wide": {
        "name": "patches_mlp_family",
        "width": (64, 256),
        "depth": (1, 2),
        **_USUAL,
    },
    "patches_linear_family": _USUAL,
    "patches_conv_family": _USUAL,
    "patches_conv_wide": {
        "name": "patches_conv_family",
        "channels": (32, 64, 64),
        "batch_size": 8,
        **_USUAL,
    },
    "patches_resnet_family": {"batch_size": 16, **_USUAL},
    "patches_vit_family": {"batch_size": 8, **_USUAL},
    "patches_vit_wide": {
        "name": "patches_vit_family",
        "width": 48,
        "depth": 2,
        "batch_size": 4,
        **_USUAL,
    },
    "patches_autoencoder_family": _USUAL,
    "patches_autoencoder_wide": {
        "name": "patches_autoencoder_family",
        "hidden": (192, 48),
        "batch_size": 16,
        **_USUAL,
    },
    "patches_vae_family": _USUAL,
    "memorization_family": {"label_noise": (0.0, 0.5), **_USUAL},
    "memorization_small": {
        "name": "memorization_family",
        "image_size": 4,
        "num_examples": (64, 512),
        "label_noise": (0.0, 0.1),
        **_USUAL,
    },
    "memorization_wide": {
        "name": "memorization_family",
        "width": (48, 192),
        "depth": (1, 2),
        "num_examples": (256, 2048),
        "label_noise": (0.0, 0.2),
        **_USUAL,
    },
    "patches_mlp_small": {"name": "patches_mlp_family", "image_size": 4, **_USUAL},
    "teacher_regression_family": {},
    "teacher_regression_wide": {
        "name": "teacher_regression_family",
        "hidden": (128, 128, 128),
        "batch_size": 16,
    },
    "deep_linear_family": {},
    "least_squares_family": {},
    "least_squares_full": {"name": "least_squares_family", "num_examples": (32, 32)},
    "logistic_regression_family": {},
    "matrix_factorization_family": {},
    "bigram_family": {},
    "induction_family": {"batch_size": 8},
    "copy_lstm_family": {"batch_size": 16},
    "copy_lstm_wide": {"name": "copy_lstm_family", "width": 96, "length": 12, "batch_size": 8},
}
"""Meta-training: photographs and synthetic data."""
VALIDATION_TASKS = {
    "iris_mlp": {},
    "digits_mixer": {"batch_size": 16},
    "patches_mixer": {"name": "digits_mixer", "dataset": "patches", "batch_size": 16},
    "text_rnn": {"width": 48, "batch_size": 16},
    "sine_regression_family": {},
    "tensor_factorization_family": {},
    "least_absolute_family": {},
    "sort_rnn_family": {"batch_size": 16},
}
"""Of other data, or other networks and losses, than those trained on and those of held_out."""


def get_config() -> ConfigDict:
    config = base.get_config()
    config.meta_steps = 400
    config.optimizer = ConfigDict({"name": "schedule_free_mlp", "hidden": ()})
    config.tasks = ConfigDict(TASKS)
    config.system_clip_norm = 3.0
    config.estimator.name = "nres"
    config.estimator.horizon = ConfigDict({"name": "log_uniform", "low": 200, "high": 2000})
    config.estimator.truncation_length = 50
    config.estimator.mean_over = "episodes"
    config.estimator.std = 0.05
    # The decay pulls towards the first theta what the meta-gradient leaves undecided.
    config.meta_optimizer.name = "adamw"
    config.meta_optimizer.weight_decay = 0.25
    config.meta_optimizer.learning_rate = 5e-3
    config.meta_optimizer.average_rate = 0.01
    config.objective.split = "mixed"
    config.objective.valid_weight = 0.25
    config.objective.unit = "first_theta"
    config.meta_validation.every_steps = 100
    config.meta_validation.num_seeds = 8
    config.meta_validation.tasks = ConfigDict(VALIDATION_TASKS)
    config.checkpoint.every_steps = 100
    config.comparison.num_seeds = 0
    return config
