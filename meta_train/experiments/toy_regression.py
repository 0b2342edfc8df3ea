"""Toy regression: a learning-rate schedule of two parameters in a rugged landscape.

Expected values: [1] and runs in NumPy.

[1] Vicol, Metz and Sohl-Dickstein, "Unbiased Gradient Estimation in Unrolled Computation Graphs
    with Persistent Evolution Strategies", ICML 2021, arXiv:2112.13835.
"""

from functools import partial

import jax.numpy as jnp

from meta_train.estimators.es import ES
from meta_train.estimators.nres import NRES
from meta_train.estimators.pes import PES
from meta_train.estimators.rtrl import RTRL
from meta_train.estimators.truncated_bptt import TruncatedBPTT
from meta_train.estimators.truncated_es import TruncatedES
from meta_train.estimators.uoro import UORO
from meta_train.experiments.comparison import Comparison, Expected, Method
from meta_train.experiments.experiment import Experiment
from meta_train.experiments.surface import Axis, Surface
from meta_train.experiments.unrolled import unrolled
from meta_train.particles import Execution
from meta_train.systems.toy_regression import ToyRegression
from meta_train.types import GradientEstimator


def _method(estimator: GradientEstimator) -> Method:
    return Method(estimator, "adam", 1e-2)


def _plan(meta_steps: int, num_seeds: int, grid: int) -> Comparison:
    return Comparison(
        system=ToyRegression(),
        judge=lambda system, theta: jnp.sum(unrolled(system, theta, 100)),
        measure="sum of the losses of 100 inner steps",
        methods={
            "pes": _method(PES(100, 10, num_pairs=50, std=0.3)),
            "nres": _method(NRES(100, 10, num_pairs=50, std=0.3)),
            "es": _method(ES(100, num_pairs=5, std=0.3)),
            "rtrl": _method(RTRL(100, 10, num_particles=100)),
            "uoro": _method(UORO(100, 10, num_particles=100)),
            "truncated_es": _method(TruncatedES(100, 10, num_pairs=50, std=1.0)),
            "truncated_bptt": _method(TruncatedBPTT(100, 10, num_particles=100)),
        },
        meta_steps=meta_steps,
        num_seeds=num_seeds,
        expected=(
            Expected("pes", 555.0, 600.0),
            Expected("nres", 555.0, 600.0),
            Expected("rtrl", 2000.0, 2490.0),
            Expected("uoro", 2000.0, 2490.0),
            Expected("truncated_es", 1000.0, 2200.0),
            Expected("truncated_bptt", 2000.0, 2490.0),
        ),
        surface=Surface(
            Axis("log of the first learning rate", 0, -6.0, 6.0, grid),
            Axis("log of the last learning rate", 1, -6.0, 6.0, grid),
            lowest=500.0,
            highest=10_000.0,
            at_once=grid,
        ),
        execution=Execution("parallel"),
    )


EXPERIMENT = Experiment(
    summary="a learning-rate schedule in a rugged landscape: derivatives and truncations are "
    "stuck, PES finds it",
    presets={"quick": partial(_plan, 2000, 3, 200), "full": partial(_plan, 20_000, 5, 400)},
)
