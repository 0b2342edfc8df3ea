"""PES on influence balancing: truncations of one step of an episode that never ends.

Command: lopt meta-train --config=influence_balancing --workdir=runs/influence_balancing
Data: none.
Machine: one core of an AMD EPYC virtual machine with AVX-512, at other work on both.
Minutes: 0.2
Result: seeds 0 to 3: theta goes from 0.5 to -0.16667, the solution, in the first five digits.
"""

from ml_collections import ConfigDict

from configs import base


def get_config() -> ConfigDict:
    config = base.get_config()
    config.system.name = "influence_balancing"
    config.meta_steps = 3000
    config.steps_per_dispatch = 100
    config.log_every_steps = 100
    config.estimator.horizon = None
    config.estimator.truncation_length = 1
    config.estimator.num_pairs = 500
    config.estimator.std = 0.1
    config.meta_optimizer = ConfigDict(
        {
            "name": "sgd",
            "learning_rate": 1e-4,
            "schedule": {"name": "constant"},
            "clip_norm": None,
            "clip_value": None,
            "group_factors": None,
            "average_rate": None,
        }
    )
    config.meta_validation.every_steps = 0  # which is over whole episodes
    return config
