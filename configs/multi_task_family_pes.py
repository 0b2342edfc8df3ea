"""PES on families of MLPs over three data sets at once, of random width, depth and scale.

Command: lopt meta-train --config=multi_task_family_pes --workdir=runs/multi_task_family_pes
Data: lopt data prepare mnist, and the same for fashion_mnist and cifar10
Machine: not yet measured.
Minutes: not yet measured.
Result: not yet measured.
"""

from ml_collections import ConfigDict

from configs import base


def get_config() -> ConfigDict:
    config = base.get_config()
    base.use_schedule_free_mlp(config)
    config.tasks = ConfigDict(
        {
            "digits_mlp_family": {"weight": 1.0},
            "mnist_mlp_family": {"weight": 1.0},
            "fashion_mnist_mlp_family": {"weight": 1.0},
        }
    )
    config.estimator.horizon = ConfigDict({"name": "log_uniform", "low": 100, "high": 1000})
    config.comparison.held_out = ConfigDict({"cifar10_mlp": {"hidden": (64, 32)}})
    return config
