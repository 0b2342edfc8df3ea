"""PES on a linear policy for MuJoCo's Swimmer, with K = 100 of T = 1000 steps.

Command: lopt meta-train --config=swimmer --workdir=runs/swimmer
Data: none; needs the extra: pip install 'lopt[control]'
Machine: one core of an AMD EPYC virtual machine with AVX-512, at other work on both.
Minutes: 9
Result: seed 0: the return of 1,000 steps, under perturbation, goes from -10 to 278, above 200 from
meta-step 52 on (312,000 steps of all particles).
"""

from ml_collections import ConfigDict

from configs import base


def get_config() -> ConfigDict:
    config = base.get_config()
    config.system.name = "swimmer"
    config.meta_steps = 100
    config.steps_per_dispatch = 2
    config.log_every_steps = 2
    config.estimator.horizon = 1000
    config.estimator.truncation_length = 100
    config.estimator.num_pairs = 30
    config.estimator.std = 0.3
    base.use_constant_adam(config, learning_rate=0.05)
    config.meta_validation.every_steps = 0
    config.devices.particles = "parallel"
    return config
