"""The default: PES on an MLP 64-32-10 over handwritten digits, T = 1000.

Command: lopt meta-train --config=digits_mlp_pes --workdir=runs/digits_mlp_pes
Machine: 2 cores of an AMD EPYC virtual machine, 67 GFLOP/s each on large matrix products.
Minutes: 4 for a run of these sizes.
Result: not yet measured with these settings. Runs with neighbouring ones (learning rates of 5e-3
and 1e-2, 1,200 to 2,000 meta-steps) ended between 0.025 and 0.042 mean training loss; the best
Adam of the grid has 0.031.
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
