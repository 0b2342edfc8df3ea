"""Meta-training: unrolled systems, gradient estimators, the meta-step and its evaluation."""

from meta_train.estimators.bptt import BPTT
from meta_train.estimators.dodge import DODGE
from meta_train.estimators.es import ES
from meta_train.estimators.gpes import GPES
from meta_train.estimators.nres import NRES
from meta_train.estimators.ok import OK
from meta_train.estimators.pes import PES
from meta_train.estimators.pes_analytic import PESAnalytic
from meta_train.estimators.rtrl import RTRL
from meta_train.estimators.truncated_bptt import TruncatedBPTT
from meta_train.estimators.truncated_es import TruncatedES
from meta_train.estimators.uoro import UORO
from meta_train.horizons import (
    ENDLESS,
    ConstantHorizon,
    EndlessHorizon,
    Horizon,
    LogUniformHorizon,
    ScheduledHorizon,
    make_horizon,
)
from meta_train.objective import MetaObjective
from meta_train.particles import Execution
from meta_train.systems.character_lstm import character_lstm
from meta_train.systems.final_loss import FinalLoss
from meta_train.systems.influence_balancing import InfluenceBalancing
from meta_train.systems.l2_regularisation import l2_regularisation
from meta_train.systems.lopt_system import LoptSystem
from meta_train.systems.lorenz import Lorenz
from meta_train.systems.many_hyperparameters import many_hyperparameters
from meta_train.systems.mountain_car import mountain_car
from meta_train.systems.swimmer import swimmer
from meta_train.systems.toy_regression import ToyRegression
from meta_train.trainer import MetaTrainer
from meta_train.types import (
    ESTIMATORS,
    SYSTEMS,
    Estimate,
    GradientEstimator,
    MetaState,
    UnrolledSystem,
)
from meta_train.variance import Moments, gradient_moments

ESTIMATORS.update(
    {
        "pes": PES,
        "es": ES,
        "truncated_es": TruncatedES,
        "nres": NRES,
        "gpes": GPES,
        "pes_analytic": PESAnalytic,
        "bptt": BPTT,
        "truncated_bptt": TruncatedBPTT,
        "rtrl": RTRL,
        "uoro": UORO,
        "ok": OK,
        "dodge": DODGE,
    }
)

SYSTEMS.update(
    {
        "lopt": LoptSystem,
        "influence_balancing": InfluenceBalancing,
        "toy_regression": ToyRegression,
        "l2_regularisation": l2_regularisation,
        "character_lstm": character_lstm,
        "lorenz": Lorenz,
        "many_hyperparameters": many_hyperparameters,
        "mountain_car": mountain_car,
        "swimmer": swimmer,
    }
)

__all__ = [
    "BPTT",
    "DODGE",
    "ENDLESS",
    "ES",
    "ESTIMATORS",
    "GPES",
    "NRES",
    "OK",
    "PES",
    "RTRL",
    "SYSTEMS",
    "UORO",
    "ConstantHorizon",
    "EndlessHorizon",
    "Estimate",
    "Execution",
    "FinalLoss",
    "GradientEstimator",
    "Horizon",
    "InfluenceBalancing",
    "LogUniformHorizon",
    "LoptSystem",
    "MetaObjective",
    "MetaState",
    "MetaTrainer",
    "Moments",
    "PESAnalytic",
    "ScheduledHorizon",
    "ToyRegression",
    "TruncatedBPTT",
    "TruncatedES",
    "UnrolledSystem",
    "gradient_moments",
    "make_horizon",
]
