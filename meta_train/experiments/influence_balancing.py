"""Influence balancing: a linear system whose near past has the wrong sign.

Expected values: [1, figure 5 of its supplement as 2 describes it] and runs in NumPy.

[1] Vicol, Metz and Sohl-Dickstein, "Unbiased Gradient Estimation in Unrolled Computation Graphs
    with Persistent Evolution Strategies", ICML 2021, arXiv:2112.13835.
[2] Vicol, Kolter and Swersky, arXiv:2304.11153.
"""

from functools import partial

from meta_train.estimators.nres import NRES
from meta_train.estimators.pes import PES
from meta_train.estimators.rtrl import RTRL
from meta_train.estimators.truncated_bptt import TruncatedBPTT
from meta_train.estimators.truncated_es import TruncatedES
from meta_train.estimators.uoro import UORO
from meta_train.experiments.comparison import Comparison, Expected, Method
from meta_train.experiments.experiment import Experiment
from meta_train.experiments.unrolled import unrolled
from meta_train.particles import Execution
from meta_train.systems.influence_balancing import InfluenceBalancing
from meta_train.types import GradientEstimator

_DIVERGES = float("inf")


def _method(estimator: GradientEstimator, learning_rate: float = 1e-4) -> Method:
    return Method(estimator, "sgd", learning_rate)


def _plan(meta_steps: int, num_seeds: int, *, pes: float, nres: float, rtrl: float) -> Comparison:
    """The comparison; losses that PES, NRES and RTRL reach depend on the number of meta-steps."""
    return Comparison(
        system=InfluenceBalancing(),
        judge=lambda system, theta: unrolled(system, theta, 500)[-1],
        measure="loss after 500 inner steps",
        methods={
            "pes": _method(PES(None, 1, num_pairs=500, std=0.1)),
            "nres": _method(NRES(None, 1, num_pairs=500, std=0.1)),
            "rtrl": _method(RTRL(None, 1, num_particles=1000)),
            "uoro": _method(UORO(None, 1, num_particles=1000), 1e-5),
            "truncated_es": _method(TruncatedES(None, 1, num_pairs=500, std=0.1)),
            "truncated_bptt, K = 1": _method(TruncatedBPTT(None, 1, num_particles=1000)),
            "truncated_bptt, K = 10": _method(TruncatedBPTT(None, 10, num_particles=100)),
            "truncated_bptt, K = 100": _method(TruncatedBPTT(None, 100, num_particles=10)),
        },
        meta_steps=meta_steps,
        num_seeds=num_seeds,
        expected=(
            Expected("pes", 0.0, pes),
            Expected("nres", 0.0, nres),
            Expected("rtrl", 0.0, rtrl),
            Expected("uoro", 0.0, 6.0),
            Expected("truncated_es", 15.0, _DIVERGES),
            Expected("truncated_bptt, K = 1", 15.0, _DIVERGES),
            Expected("truncated_bptt, K = 10", 15.0, _DIVERGES),
            Expected("truncated_bptt, K = 100", 15.0, _DIVERGES),
        ),
        execution=Execution("parallel"),
    )


EXPERIMENT = Experiment(
    summary="a linear system whose near past has the wrong sign: truncation diverges, PES goes the "
    "way of RTRL",
    presets={
        "quick": partial(_plan, 1000, 3, pes=1e-3, nres=1e-3, rtrl=1e-4),
        "full": partial(_plan, 3000, 5, pes=1e-8, nres=1e-8, rtrl=1e-8),
    },
)
