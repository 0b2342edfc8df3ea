"""An MLP learned optimizer, meta-trained from truncations of K = 4 of T = 1000 steps.

``full`` trains an MLP on CIFAR-10, shrunken so that two cores need less than two hours; ``quick`` a
smaller one on shrunken digits. Both have a learned optimizer with one hidden layer of width 4,
whose fewer parameters leave less variance to PES. Expected: that at equal inner steps PES is below
truncated ES, as [1] reports, and with ``full`` below truncated backpropagation too, which does not
hold at this size, see docs/reproduction.md.

[1] Vicol, Metz and Sohl-Dickstein, "Unbiased Gradient Estimation in Unrolled Computation Graphs
    with Persistent Evolution Strategies", ICML 2021, arXiv:2112.13835.
"""

from collections.abc import Mapping
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
    task: tasks.Task, learning_rates: Mapping[str, float], decay_steps: int | None, **others: Any
) -> Comparison:
    def judge(system, theta):
        return jnp.mean(episodes(system, theta, _T, 8))

    estimators = {
        "pes": PES(_T, _K, num_pairs=16, std=0.03),
        "truncated_es": TruncatedES(_T, _K, num_pairs=16, std=0.03),
        "truncated_bptt": TruncatedBPTT(_T, _K, num_particles=32),
    }
    return Comparison(
        system=LoptSystem(MLPLopt(hidden=(4,)), task, MetaObjective(clip=4.0)),
        judge=judge,
        measure=f"mean training loss over {_T:,} steps",
        methods={
            x: Method(y, "adam", learning_rates[x], clip_norm=1.0, decay_steps=decay_steps)
            for x, y in estimators.items()
        },
        meta_steps=1000,
        num_seeds=3,
        execution=Execution("parallel"),
        **others,
    )


def _quick() -> Comparison:
    task = tasks.make("digits_mlp", image_size=4, hidden=(16,), batch_size=8)
    rates = {"pes": 3e-3, "truncated_es": 3e-3, "truncated_bptt": 3e-3}
    return _plan(task, rates, None, expected=(Below("pes", "truncated_es"),), num_points=25)


def _full() -> Comparison:
    """Learning rates are from 3e-4, 1e-3 and 3e-3, chosen on a seed that is not among these."""
    task = tasks.make("cifar10_mlp", image_size=8, hidden=(16,), batch_size=8)
    rates = {"pes": 3e-3, "truncated_es": 3e-4, "truncated_bptt": 3e-3}
    expected = (Below("pes", "truncated_es"), Below("pes", "truncated_bptt"))
    return _plan(task, rates, 1000, expected=expected, num_points=10)


EXPERIMENT = Experiment(
    summary="an MLP learned optimizer with K = 4 of T = 1000 steps: at equal inner steps PES "
    "is below truncated ES",
    presets={"quick": _quick, "full": _full},
)
