"""PES on a linear policy for MuJoCo's Swimmer, with K = 100 of T = 1000 steps.

Command: lopt meta-train --config=swimmer --workdir=runs/swimmer
Data: none; needs the extra: pip install 'lopt[control]'
Machine: one core of an AMD EPYC virtual machine with AVX-512, at other work on both.
Minutes: MINUTES
Result: RESULT
"""

from ml_collections import ConfigDict

from configs import base


def get_config() -> ConfigDict:
    config = base.get_config()
    config.system.name = "swimmer"
    config.meta_steps = 250
    config.steps_per_dispatch = 5
    config.log_every_steps = 5
    config.estimator.horizon = 1000
    config.estimator.truncation_length = 100
    config.estimator.num_pairs = 10
    config.estimator.std = 0.3
    config.meta_optimizer.learning_rate = 0.05
    config.meta_optimizer.b2 = 0.999
    config.meta_optimizer.schedule.name = "constant"
    config.meta_optimizer.clip_norm = None
    config.meta_validation.every_steps = 50
    config.devices.particles = "parallel"
    return config
