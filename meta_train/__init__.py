"""Meta-training: unrolled systems, gradient estimators, the meta-step and its evaluation."""

from meta_train.estimators.bptt import BPTT
from meta_train.estimators.es import ES
from meta_train.estimators.nres import NRES
from meta_train.estimators.pes import PES
from meta_train.estimators.truncated_bptt import TruncatedBPTT
from meta_train.estimators.truncated_es import TruncatedES
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
from meta_train.systems.lopt_system import LoptSystem
from meta_train.trainer import MetaTrainer
from meta_train.types import (
    ESTIMATORS,
    SYSTEMS,
    Estimate,
    GradientEstimator,
    MetaState,
    UnrolledSystem,
)

ESTIMATORS.update(
    {
        "pes": PES,
        "es": ES,
        "truncated_es": TruncatedES,
        "nres": NRES,
        "bptt": BPTT,
        "truncated_bptt": TruncatedBPTT,
    }
)

SYSTEMS.update({"lopt": LoptSystem})

__all__ = [
    "BPTT",
    "ENDLESS",
    "ES",
    "ESTIMATORS",
    "NRES",
    "PES",
    "SYSTEMS",
    "ConstantHorizon",
    "EndlessHorizon",
    "Estimate",
    "Execution",
    "GradientEstimator",
    "Horizon",
    "LogUniformHorizon",
    "LoptSystem",
    "MetaObjective",
    "MetaState",
    "MetaTrainer",
    "ScheduledHorizon",
    "TruncatedBPTT",
    "TruncatedES",
    "UnrolledSystem",
    "make_horizon",
]
