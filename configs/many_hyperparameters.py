"""NRES on 29 hyperparameters of an MLP on Fashion-MNIST, with K = 10 of T = 1000 steps.

Learning rates and momenta of twelve tensors, and widths of five layers of at most 100 units; the
paper's settings, but for fewer meta-steps and a larger meta-learning rate. Within a minute, on
data that need no preparation:
--config.system.dataset=digits --config.system.width=32 --config.system.batch_size=16

Command: lopt meta-train --config=many_hyperparameters --workdir=runs/many_hyperparameters
Data: lopt data prepare fashion_mnist
Machine: one core of an AMD EPYC virtual machine with AVX-512, at much other work.
Minutes: 7
Result: seed 0: the mean validation loss over the 1,000 steps falls to 0.485 after 200 meta-steps
and to 0.448 after 500, on fresh seeds; after 100 it is 0.735.
"""

from ml_collections import ConfigDict

from configs import base


def get_config() -> ConfigDict:
    config = base.get_config()
    config.system = ConfigDict(
        {
            "name": "many_hyperparameters",
            "dataset": "fashion_mnist",
            "width": 100,
            "batch_size": 100,
        }
    )
    config.meta_steps = 500
    config.steps_per_dispatch = 10
    config.log_every_steps = 10
    config.estimator.name = "nres"
    config.estimator.horizon = 1000
    config.estimator.truncation_length = 10
    config.estimator.num_pairs = 5
    config.estimator.std = 0.3
    base.use_constant_adam(config, learning_rate=3e-2)
    config.devices.particles = "parallel"
    return config
