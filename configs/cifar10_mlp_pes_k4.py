"""PES with short truncations, K = 4, on an MLP 3072-128-128-128-10 over CIFAR-10.

Command: lopt meta-train --config=cifar10_mlp_pes_k4 --workdir=runs/cifar10_mlp_pes_k4
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
    config.meta_steps = 2000
    config.tasks = ConfigDict({"cifar10_mlp": {"hidden": (128, 128, 128), "batch_size": 128}})
    config.estimator.truncation_length = 4
    config.comparison.held_out = ConfigDict(
        {"cifar10_shallower": {"name": "cifar10_mlp", "hidden": (64, 64), "data_seed": 1}}
    )
    return config
