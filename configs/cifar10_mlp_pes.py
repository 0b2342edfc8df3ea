"""PES on an MLP 3072-32-10 over CIFAR-10, T = 1000.

Command: lopt meta-train --config=cifar10_mlp_pes --workdir=runs/cifar10_mlp_pes
Data: lopt data prepare cifar10
Machine: not yet measured.
Minutes: not yet measured.
Result: not yet measured.
"""

from ml_collections import ConfigDict

from configs import base


def get_config() -> ConfigDict:
    config = base.get_config()
    base.use_schedule_free_mlp(config)
    config.tasks = ConfigDict({"cifar10_mlp": {"hidden": (32,), "batch_size": 128}})
    config.comparison.held_out = ConfigDict(
        {"cifar10_wider_deeper": {"name": "cifar10_mlp", "hidden": (64, 32), "data_seed": 1}}
    )
    return config
