"""First phase of the general-purpose optimizer: the scalars of schedule_free_mlp, without its MLP.

Command: lopt meta-train --config=general_scalars --workdir=runs/general_scalars
Data: embedded.
Machine: 2 cores of an AMD EPYC virtual machine with AVX-512, other work beside it.
Minutes: 22, of which about half were others'.
Result: on the validation tasks 0.910 of the meta-loss of the first theta (one meta-seed, best of
14 checkpoints; 0.916 at the end). Not yet judged on the held-out suite.
"""

from ml_collections import ConfigDict

from configs import base

TASKS = {
    "patches_mlp_family": {},
    "patches_conv_family": {},
    "patches_resnet_family": {"batch_size": 16},
    "patches_vit_family": {"batch_size": 8},
    "patches_autoencoder_family": {},
    "memorization_family": {},
    "teacher_regression_family": {},
    "deep_linear_family": {},
    "least_squares_family": {},
    "least_squares_full": {"name": "least_squares_family", "num_examples": (32, 32)},
    "logistic_regression_family": {},
    "matrix_factorization_family": {},
    "bigram_family": {},
    "induction_family": {"batch_size": 8},
    "copy_lstm_family": {"batch_size": 16},
}
"""Meta-training: photographs and synthetic data."""
VALIDATION_TASKS = {
    "iris_mlp": {},
    "digits_mixer": {"batch_size": 16},
    "sine_regression_family": {},
    "tensor_factorization_family": {},
    "least_absolute_family": {},
    "sort_rnn_family": {"batch_size": 16},
}
"""Of other data, or other networks and losses, than those trained on and those of held_out."""


def get_config() -> ConfigDict:
    config = base.get_config()
    config.meta_steps = 700
    config.optimizer = ConfigDict({"name": "schedule_free_mlp", "hidden": ()})
    config.tasks = ConfigDict(TASKS)
    config.estimator.name = "nres"
    config.estimator.horizon = ConfigDict({"name": "log_uniform", "low": 200, "high": 2000})
    config.estimator.truncation_length = 50
    config.estimator.mean_over = "episodes"
    config.estimator.std = 0.02
    config.meta_optimizer.learning_rate = 6e-3
    config.meta_optimizer.average_rate = 0.02
    config.objective.split = "mixed"
    config.objective.unit = "first_theta"
    config.meta_validation.every_steps = 50
    config.meta_validation.num_seeds = 8
    config.meta_validation.tasks = ConfigDict(VALIDATION_TASKS)
    config.checkpoint.every_steps = 50
    config.comparison.num_seeds = 0
    return config
