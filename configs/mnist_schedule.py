"""PES on a learning-rate schedule of two parameters for an MLP 784-100-100-10 on MNIST, T = 5000.

The rate is e^a / (1 + t / 5000)^(e^b); the paper's settings, but for fewer particles. With
--config.objective.measure=error --config.objective.split=valid theta is trained for the accuracy on
validation data, which has no derivatives.

Command: lopt meta-train --config=mnist_schedule --workdir=runs/mnist_schedule
Data: lopt data prepare mnist
Machine: two cores of an AMD EPYC virtual machine with AVX-512, at other work on both.
Minutes: 6
Result: seed 0: the mean training loss over 5,000 steps falls from 0.37 to 0.058 on fresh seeds, at
a first learning rate of 0.034 and e^b = 2.9.
"""

from ml_collections import ConfigDict

from configs import base


def get_config() -> ConfigDict:
    config = base.get_config()
    config.meta_steps = 150
    config.steps_per_dispatch = 1
    config.log_every_steps = 1
    config.optimizer = ConfigDict(
        {
            "name": "sgd_schedule",
            "schedule": "inverse_time",
            "learning_rate": 0.003,
            "momentum": 0.9,
            "learn_momentum": False,
            "decay": 30.0,
            "time_scale": 5000.0,
        }
    )
    config.tasks = ConfigDict({"mnist_mlp": {"hidden": (100, 100), "batch_size": 100}})
    config.estimator.horizon = 5000
    config.estimator.truncation_length = 100
    config.estimator.num_pairs = 10
    config.estimator.std = 0.1
    base.use_constant_adam(config, learning_rate=3e-2)
    config.comparison.num_seeds = 0
    config.meta_validation.every_steps = 50
    return config
