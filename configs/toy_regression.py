"""PES on the toy regression of its paper: a learning-rate schedule with two parameters.

Command: lopt meta-train --config=toy_regression --workdir=runs/toy_regression
Data: none.
Machine: one core of an AMD EPYC virtual machine with AVX-512, at other work on both.
Minutes: 0.1
Result: seeds 0 to 3: the loss per inner step falls from 24.9 to 5.6 to 5.7 within 1,000 meta-steps
and stays there; the best on a fine grid is 5.555, and truncated backpropagation stays above 24.
"""

from ml_collections import ConfigDict

from configs import base


def get_config() -> ConfigDict:
    config = base.get_config()
    config.system.name = "toy_regression"
    config.meta_steps = 2000
    config.steps_per_dispatch = 100
    config.log_every_steps = 10
    config.estimator.horizon = 100
    config.estimator.truncation_length = 10
    config.estimator.num_pairs = 50
    config.estimator.std = 0.3
    base.use_constant_adam(config, learning_rate=1e-2)
    return config
