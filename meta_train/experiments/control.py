"""Control by a linear policy: ``quick`` drives a weak car up a hill, ``full`` is MuJoCo's Swimmer.

In both, what pays in the end does not pay at once: the car must first drive back, the swimmer
strike out. Expected of Swimmer: [1], where PES with K = 100 reaches in fewer steps what full ES
reaches, and truncated ES stays far below. The numbers of the car are from this code.

[1] Vicol, Metz and Sohl-Dickstein, "Unbiased Gradient Estimation in Unrolled Computation Graphs
    with Persistent Evolution Strategies", ICML 2021, arXiv:2112.13835.
"""

import math
from collections.abc import Mapping
from typing import Any

import jax.numpy as jnp
from jaxtyping import Array, Float

from meta_train.estimators.es import ES
from meta_train.estimators.nres import NRES
from meta_train.estimators.pes import PES
from meta_train.estimators.truncated_bptt import TruncatedBPTT
from meta_train.estimators.truncated_es import TruncatedES
from meta_train.experiments.comparison import Comparison, Expected, Method
from meta_train.experiments.experiment import Experiment
from meta_train.experiments.unrolled import episodes
from meta_train.particles import Execution
from meta_train.systems.control import LinearPolicy
from meta_train.systems.mountain_car import mountain_car
from meta_train.systems.swimmer import swimmer
from meta_train.types import GradientEstimator, Theta, UnrolledSystem


def _plan(
    system: LinearPolicy,
    horizon: int,
    num_episodes: int,
    estimators: Mapping[str, GradientEstimator],
    learning_rate: float,
    **others: Any,
) -> Comparison:
    def judge(system: UnrolledSystem, theta: Theta) -> Float[Array, ""]:
        return -jnp.sum(episodes(system, theta, horizon, num_episodes)) / num_episodes

    return Comparison(
        system=system,
        judge=judge,
        measure=f"return of {horizon:,} steps",
        methods={x: Method(y, "adam", learning_rate) for x, y in estimators.items()},
        execution=Execution("parallel"),
        **others,
    )


def _mountain_car() -> Comparison:
    return _plan(
        mountain_car(),
        300,
        16,
        {
            "pes": PES(300, 10, num_pairs=30, std=0.3),
            "nres": NRES(300, 10, num_pairs=30, std=0.3),
            "es": ES(300, num_pairs=1, std=0.3),
            "truncated_es": TruncatedES(300, 10, num_pairs=30, std=0.3),
            "truncated_bptt": TruncatedBPTT(300, 10, num_particles=60),
        },
        learning_rate=0.03,
        meta_steps=500,
        num_seeds=3,
        expected=(
            Expected("pes", 75.0, 300.0),
            Expected("nres", 75.0, 300.0),
            Expected("es", 75.0, 300.0),
            Expected("truncated_es", -300.0, -10.0),
            Expected("truncated_bptt", -300.0, -10.0),
        ),
    )


def _swimmer() -> Comparison:
    return _plan(
        swimmer(),
        1000,
        4,
        {
            "pes": PES(1000, 100, num_pairs=30, std=0.3),
            "es": ES(1000, num_pairs=3, std=0.3),
            "truncated_es": TruncatedES(1000, 100, num_pairs=30, std=0.1),
        },
        learning_rate=0.05,
        meta_steps=100,
        num_seeds=2,
        num_points=20,
        expected=(Expected("pes", 200.0, math.inf), Expected("truncated_es", -math.inf, 100.0)),
    )


EXPERIMENT = Experiment(
    summary="linear policies of a car in a valley and of MuJoCo's Swimmer: PES learns what pays "
    "late, truncations do not",
    presets={"quick": _mountain_car, "full": _swimmer},
)
