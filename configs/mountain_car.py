"""PES on a linear policy that drives a weak car up a hill, with K = 10 of T = 300 steps.

Command: lopt meta-train --config=mountain_car --workdir=runs/mountain_car
Data: none.
Machine: one core of an AMD EPYC virtual machine with AVX-512, at other work on both.
Minutes: 0.2
Result: seeds 0 and 1: the mean reward of a step goes from -0.98 to 0.2 to 0.4 (PES is noisy
here; the best that linear policies were seen to reach is 0.5).
"""

from ml_collections import ConfigDict

from configs import base


def get_config() -> ConfigDict:
    config = base.get_config()
    config.system.name = "mountain_car"
    config.meta_steps = 500
    config.steps_per_dispatch = 10
    config.log_every_steps = 10
    config.estimator.horizon = 300
    config.estimator.truncation_length = 10
    config.estimator.num_pairs = 30
    config.estimator.std = 0.3
    base.use_constant_adam(config, learning_rate=0.03)
    config.devices.particles = "parallel"
    return config
