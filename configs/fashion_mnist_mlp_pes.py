"""PES on an MLP 784-32-10 over Fashion-MNIST, T = 1000.

Command: lopt meta-train --config=fashion_mnist_mlp_pes --workdir=runs/fashion_mnist_mlp_pes
Data: lopt data prepare fashion_mnist
Machine: not yet measured.
Minutes: not yet measured.
Result: not yet measured.
"""

from ml_collections import ConfigDict

from configs import base


def get_config() -> ConfigDict:
    config = base.get_config()
    config.meta_steps = 2000
    config.optimizer.step_mult = 0.01
    config.tasks = ConfigDict({"fashion_mnist_mlp": {"hidden": (32,), "batch_size": 128}})
    config.comparison.held_out = ConfigDict(
        {
            "fashion_mnist_wider_deeper": {
                "name": "fashion_mnist_mlp",
                "hidden": (64, 32),
                "data_seed": 1,
            }
        }
    )
    return config
