"""First phase of the general-purpose optimizer: the scalars of schedule_free_mlp, without its MLP.

Command: lopt meta-train --config=general_scalars --workdir=runs/general_scalars
Data: embedded.
Machine: not yet measured.
Minutes: not yet measured.
Result: not yet measured.
"""

from ml_collections import ConfigDict

from configs import base

TRAINED_ON = (
    "patches_mlp_family",
    "patches_conv_family",
    "patches_vit_family",
    "patches_autoencoder_family",
    "iris_mlp_family",
    "teacher_regression_family",
    "induction_family",
    "copy_lstm_family",
    "bigram_family",
    "least_squares_family",
    "logistic_regression_family",
    "matrix_factorization_family",
)
VALIDATED_ON = (
    "patches_resnet_family",
    "sine_regression_family",
    "sort_rnn_family",
    "least_absolute_family",
    "tensor_factorization_family",
)


def get_config() -> ConfigDict:
    config = base.get_config()
    config.meta_steps = 700
    config.optimizer = ConfigDict({"name": "schedule_free_mlp", "hidden": ()})
    config.tasks = ConfigDict({name: {"weight": 1.0} for name in TRAINED_ON})
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
    config.meta_validation.tasks = ConfigDict({name: {"weight": 1.0} for name in VALIDATED_ON})
    config.checkpoint.every_steps = 50
    config.comparison.num_seeds = 0
    return config
