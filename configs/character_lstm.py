"""PES on the weights of an LSTM that reads a text, with K = 10 of T = 100 steps.

Command: lopt meta-train --config=character_lstm --workdir=runs/character_lstm
Data: none; the source of Python's standard library.
Machine: one core of an AMD EPYC virtual machine with AVX-512, at other work on both.
Minutes: 0.6
Result: seed 0: the loss on fresh passages falls from 4.6 to 2.74 nats for each character.
"""

from ml_collections import ConfigDict

from configs import base


def get_config() -> ConfigDict:
    config = base.get_config()
    config.system.name = "character_lstm"
    config.meta_steps = 1000
    config.steps_per_dispatch = 10
    config.log_every_steps = 10
    config.estimator.horizon = 100
    config.estimator.truncation_length = 10
    config.estimator.num_pairs = 200
    config.estimator.std = 0.1
    base.use_constant_adam(config, learning_rate=0.01)
    config.devices.particles = "parallel"
    return config
