"""PES on the strength of an L2 regularisation, with K = 10 of T = 1000 steps.

Command: lopt meta-train --config=l2_regularisation --workdir=runs/l2_regularisation
Data: none; a table of scikit-learn's.
Machine: one core of an AMD EPYC virtual machine with AVX-512, at other work on both.
Minutes: 0.2
Result: seed 0: theta goes from -5 to where the mean validation error over the 1,000 steps is 0.632
(from 0.84); the final weights are best, of whole numbers, at theta = 0.
"""

from ml_collections import ConfigDict

from configs import base


def get_config() -> ConfigDict:
    config = base.get_config()
    config.system.name = "l2_regularisation"
    config.meta_steps = 500
    config.steps_per_dispatch = 10
    config.log_every_steps = 10
    config.estimator.horizon = 1000
    config.estimator.truncation_length = 10
    config.estimator.num_pairs = 20
    config.estimator.std = 0.3
    base.use_constant_adam(config, learning_rate=0.03)
    config.devices.particles = "parallel"
    return config
