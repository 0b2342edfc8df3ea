"""PES for the coordinate-wise LSTM on an MLP 784-32-10 over MNIST, T = 200.

Command: lopt meta-train --config=mnist_lstm_pes --workdir=runs/mnist_lstm_pes
Data: lopt data prepare mnist
Machine: not yet measured.
Minutes: not yet measured.
Result: not yet measured.
"""

from ml_collections import ConfigDict

from configs import base


def get_config() -> ConfigDict:
    config = base.get_config()
    config.meta_steps = 600
    config.optimizer.name = "lstm"
    config.tasks = ConfigDict({"mnist_mlp": {"hidden": (32,), "batch_size": 128}})
    config.estimator.horizon = 200
    config.estimator.std = 0.02
    config.meta_optimizer.average_rate = 0.01
    config.comparison.held_out = ConfigDict(
        {"mnist_wider_deeper": {"name": "mnist_mlp", "hidden": (64, 32), "data_seed": 1}}
    )
    return config
