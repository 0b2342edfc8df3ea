"""An MLP learned optimizer, meta-trained from truncations of K = 4 of T = 1000 steps.

``full`` trains an MLP on CIFAR-10; ``quick`` a small one on shrunken digits, with a smaller learned
optimizer, whose fewer parameters leave less variance to PES. Expected: that at equal inner steps
PES is below truncated ES, as [1] reports, and at the size of ``full`` below truncated
backpropagation too; at that of ``quick`` it is not, see docs/reproduction.md.

[1] Vicol, Metz and Sohl-Dickstein, "Unbiased Gradient Estimation in Unrolled Computation Graphs
    with Persistent Evolution Strategies", ICML 2021, arXiv:2112.13835.
"""

from typing import Any

import jax.numpy as jnp

import tasks
from lopt.mlp import MLPLopt
from meta_train.estimators.pes import PES
from meta_train.estimators.truncated_bptt import TruncatedBPTT
from meta_train.estimators.truncated_es import TruncatedES
from meta_train.experiments.comparison import Below, Comparison, Method
from meta_train.experiments.experiment import Experiment
from meta_train.experiments.unrolled import episodes
from meta_train.objective import MetaObjective
from meta_train.particles import Execution
from meta_train.systems.lopt_system import LoptSystem

_T, _K = 1000, 4


def _plan(
    rule: MLPLopt, task: tasks.Task, num_pairs: int, std: float, learning_rate: float, **others: Any
) -> Comparison:
    def judge(system, theta):
        return jnp.mean(episodes(system, theta, _T, 8))

    estimators = {
        "pes": PES(_T, _K, num_pairs=num_pairs, std=std),
        "truncated_es": TruncatedES(_T, _K, num_pairs=num_pairs, std=std),
        "truncated_bptt": TruncatedBPTT(_T, _K, num_particles=2 * num_pairs),
    }
    return Comparison(
        system=LoptSystem(rule, task, MetaObjective(clip=4.0)),
        judge=judge,
        measure=f"mean training loss over {_T:,} steps",
        methods={x: Method(y, "adam", learning_rate, clip_norm=1.0) for x, y in estimators.items()},
        num_seeds=3,
        num_points=25,
        execution=Execution("parallel"),
        **others,
    )


def _quick() -> Comparison:
    task = tasks.make("digits_mlp", image_size=4, hidden=(16,), batch_size=8)
    expected = (Below("pes", "truncated_es"),)
    return _plan(MLPLopt(hidden=(4,)), task, 16, 0.03, 3e-3, meta_steps=1000, expected=expected)


def _full() -> Comparison:
    task = tasks.make("cifar10_mlp")
    expected = (Below("pes", "truncated_es"), Below("pes", "truncated_bptt"))
    return _plan(MLPLopt(), task, 8, 0.01, 1e-3, meta_steps=10_000, expected=expected)


EXPERIMENT = Experiment(
    summary="an MLP learned optimizer with K = 4 of T = 1000 steps: at equal inner steps PES "
    "is below truncated ES",
    presets={"quick": _quick, "full": _full},
)
