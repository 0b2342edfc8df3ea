"""The strength of an L2 regularisation: learned by truncations, and searched for on a grid.

Regression on 40 examples, by truncations of a single step. What one step of another strength does
to the validation error is not what it does in the long run, so that truncations end at too much of
it.

Expected: [1, on UCI Yacht], where PES ends at the best point of the grid from wherever it starts,
and truncated ES does not. Numbers are from this very problem: on a grid the lowest loss is 0.697,
where theta is -0.2, and without regularisation it is 1.30; the mean gradient of truncations, by
automatic differentiation, is zero where theta is 0.6 and the loss 0.708.

[1] Vicol, Metz and Sohl-Dickstein, "Unbiased Gradient Estimation in Unrolled Computation Graphs
    with Persistent Evolution Strategies", ICML 2021, arXiv:2112.13835.
"""

from functools import partial

import jax.numpy as jnp

from meta_train.estimators.nres import NRES
from meta_train.estimators.pes import PES
from meta_train.estimators.rtrl import RTRL
from meta_train.estimators.truncated_bptt import TruncatedBPTT
from meta_train.estimators.truncated_es import TruncatedES
from meta_train.experiments.comparison import Comparison, Expected, Method
from meta_train.experiments.experiment import Experiment
from meta_train.experiments.surface import Axis, Surface
from meta_train.experiments.unrolled import unrolled
from meta_train.particles import Execution
from meta_train.systems.l2_regularisation import l2_regularisation

_T, _K, _STD = 1000, 1, 0.3


def _plan(meta_steps: int, num_seeds: int, grid: int) -> Comparison:
    estimators = {
        "pes": PES(_T, _K, num_pairs=20, std=_STD),
        "nres": NRES(_T, _K, num_pairs=20, std=_STD),
        "rtrl": RTRL(_T, _K, num_particles=40),
        "truncated_es": TruncatedES(_T, _K, num_pairs=20, std=_STD),
        "truncated_bptt": TruncatedBPTT(_T, _K, num_particles=40),
    }
    return Comparison(
        system=l2_regularisation(num_examples=40, first_theta=-1.0, first_spread=4.0),
        judge=lambda system, theta: jnp.mean(unrolled(system, theta, _T)),
        measure=f"mean validation error over {_T:,} steps",
        methods={x: Method(y, "adam", 1e-2) for x, y in estimators.items()},
        meta_steps=meta_steps,
        num_seeds=num_seeds,
        expected=(
            Expected("pes", 0.696, 0.7),
            Expected("nres", 0.696, 0.7),
            Expected("rtrl", 0.696, 0.7),
            Expected("truncated_es", 0.704, 0.72),
            Expected("truncated_bptt", 0.704, 0.72),
        ),
        execution=Execution("parallel"),
        surface=Surface(None, Axis("log of the strength", 0, -6.0, 4.0, grid), 0.69, 1.3),
    )


EXPERIMENT = Experiment(
    summary="the strength of an L2 regularisation: PES finds the best one of a grid, truncations "
    "end at too much",
    presets={"quick": partial(_plan, 2000, 5, 101), "full": partial(_plan, 10_000, 5, 201)},
)
