"""The default: PES on an MLP 64-32-10 over handwritten digits, T = 1000.

Command: lopt meta-train --config=digits_mlp_pes --workdir=runs/digits_mlp_pes
Machine: not yet measured.
Minutes: not yet measured.
Result: not yet measured.
"""

from ml_collections import ConfigDict

from configs import base


def get_config() -> ConfigDict:
    config = base.get_config()
    config.meta_steps = 1500
    config.steps_per_dispatch = 10
    config.tasks = ConfigDict({"digits_mlp": {"hidden": (32,), "batch_size": 64}})
    config.comparison.held_out = ConfigDict(
        {"digits_wider_deeper": {"name": "digits_mlp", "hidden": (48, 24), "data_seed": 1}}
    )
    return config
