"""Learned optimizers: rules with meta-parameters that become ordinary Optax optimizers.

optimizer = lopt.load("general", num_steps=1000)         # the one that comes with lopt, or
optimizer = lopt.load("my_bundle", num_steps=1000)       # from a folder, or
rule = lopt.LOPTS["mlp"]()                               # one to meta-train
optimizer = rule.bind(rule.init(jax.random.key(0)))
updates, state = optimizer.update(grads, state, params)
"""

from lopt.adafac_mlp import AdafacMLPLopt
from lopt.averages import evaluation_params
from lopt.base import LOPTS, LearnedOptimizer, StepInputs, Theta
from lopt.bundle import Bundle, HorizonWarning, load, load_bundle, save
from lopt.celo2 import Celo2BaseLopt, Celo2Lopt
from lopt.lstm import LSTMLopt
from lopt.mlp import MLPLopt
from lopt.nn_adam import NNAdamLopt
from lopt.options import with_options
from lopt.rnn_mlp import RNNMLPLopt
from lopt.schedule_free_mlp import ScheduleFreeMLPLopt
from lopt.schedules import AdamSchedule, SGDSchedule
from lopt.sharding import state_sharding
from lopt.velo import VeLOLopt

LOPTS.update(
    {
        "mlp": MLPLopt,
        "adafac_mlp": AdafacMLPLopt,
        "lstm": LSTMLopt,
        "nn_adam": NNAdamLopt,
        "rnn_mlp": RNNMLPLopt,
        "velo": VeLOLopt,
        "celo2": Celo2Lopt,
        "celo2_base": Celo2BaseLopt,
        "schedule_free_mlp": ScheduleFreeMLPLopt,
        "sgd_schedule": SGDSchedule,
        "adam_schedule": AdamSchedule,
    }
)

__all__ = [
    "LOPTS",
    "AdafacMLPLopt",
    "AdamSchedule",
    "Bundle",
    "Celo2BaseLopt",
    "Celo2Lopt",
    "HorizonWarning",
    "LSTMLopt",
    "LearnedOptimizer",
    "MLPLopt",
    "NNAdamLopt",
    "RNNMLPLopt",
    "SGDSchedule",
    "ScheduleFreeMLPLopt",
    "StepInputs",
    "Theta",
    "VeLOLopt",
    "evaluation_params",
    "load",
    "load_bundle",
    "save",
    "state_sharding",
    "with_options",
]
