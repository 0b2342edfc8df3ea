"""A learning-rate schedule of two parameters for an MLP: paths over the surface of a grid search.

``full`` has the network, data, horizon and particles of [1], for a GPU; ``quick`` the digits of
scikit-learn, in batches so small that the loss is soon that of their noise, as it is late in the
longer episodes of ``full``. There smaller rates help at once, which is all that a
truncation sees, and cost much later.

Expected: paths as in [1], where PES ends near the best point of the grid and truncated ES at larger
decays. Numbers are from the grid of this very problem, whose lowest losses of ``quick`` are 0.128
and, for the error, 0.0605.

[1] Vicol, Metz and Sohl-Dickstein, "Unbiased Gradient Estimation in Unrolled Computation Graphs
    with Persistent Evolution Strategies", ICML 2021, arXiv:2112.13835.
"""

import math
from collections.abc import Sequence
from functools import partial
from typing import NamedTuple

import jax.numpy as jnp

import tasks
from lopt.schedules import SGDSchedule
from meta_train.estimators.pes import PES
from meta_train.estimators.truncated_bptt import TruncatedBPTT
from meta_train.estimators.truncated_es import TruncatedES
from meta_train.experiments.comparison import Below, Comparison, Expectation, Expected, Method
from meta_train.experiments.experiment import Experiment
from meta_train.experiments.surface import Axis, Surface
from meta_train.experiments.unrolled import episodes
from meta_train.objective import MetaObjective
from meta_train.particles import Execution
from meta_train.systems.lopt_system import LoptSystem

_K = 10
_STD = 0.1
_DECADE = math.log(10.0)


class _Size(NamedTuple):
    """What ``quick`` and ``full`` differ in."""

    task: str
    hidden: tuple[int, ...]
    batch_size: int
    horizon: int
    learning_rate: float
    """Of the meta-optimizer."""
    meta_steps: int
    num_seeds: int
    grid: int
    num_episodes: int
    """Over which a theta is judged."""
    num_pairs: int


_QUICK = _Size("digits_mlp", (32,), 8, 1000, 3e-2, 600, 3, 16, 4, num_pairs=10)
_FULL = _Size("mnist_mlp", (100, 100), 100, 5000, 1e-2, 2000, 3, 40, 4, num_pairs=500)


def _plan(
    size: _Size,
    objective: MetaObjective,
    measure: str,
    shades: tuple[float, float],
    expected: Sequence[Expectation],
) -> Comparison:
    rule = SGDSchedule(
        "inverse_time",
        learning_rate=0.003,
        momentum=0.9,
        learn_momentum=False,
        decay=30.0,
        time_scale=float(size.horizon),
    )
    task = tasks.make(size.task, hidden=size.hidden, batch_size=size.batch_size)

    def judge(system, theta):
        return jnp.mean(episodes(system, theta, size.horizon, size.num_episodes))

    estimators = {
        "pes": PES(size.horizon, _K, num_pairs=size.num_pairs, std=_STD),
        "truncated_es": TruncatedES(size.horizon, _K, num_pairs=size.num_pairs, std=_STD),
    }
    if objective.uses_training_loss:
        estimators["truncated_bptt"] = TruncatedBPTT(
            size.horizon, _K, num_particles=2 * size.num_pairs
        )
    return Comparison(
        system=LoptSystem(rule, task, objective),
        judge=judge,
        measure=measure,
        methods={x: Method(y, "adam", size.learning_rate) for x, y in estimators.items()},
        meta_steps=size.meta_steps,
        num_seeds=size.num_seeds,
        expected=expected,
        execution=Execution("parallel"),
        surface=Surface(
            Axis("log10 of the first learning rate", 1, -3.0, -0.5, size.grid, _DECADE),
            Axis("log10 of the decay", 0, -2.2, 2.2, size.grid, _DECADE),
            *shades,
            at_once=size.grid,
        ),
    )


def _loss(size: _Size, *expected: Expectation) -> Comparison:
    expected = (*expected, Below("pes", "truncated_es"), Below("pes", "truncated_bptt"))
    return _plan(size, MetaObjective(clip=4.0), "mean training loss", (0.1, 2.0), expected)


def _error(size: _Size, *expected: Expectation) -> Comparison:
    objective = MetaObjective(split="valid", measure="error", clip=None)
    expected = (*expected, Below("pes", "truncated_es"))
    return _plan(size, objective, "mean validation error", (0.05, 1.0), expected)


EXPERIMENT = Experiment(
    summary="a learning-rate schedule for an MLP: PES finds the best region of the grid, "
    "truncations prefer rates that fall too soon",
    presets={
        "quick": partial(_loss, _QUICK, Expected("pes", 0.12, 0.15)),
        "full": partial(_loss, _FULL),
    },
)
EXPERIMENT_ERROR = Experiment(
    summary="the same for the validation error, which has no derivatives",
    presets={
        "quick": partial(_error, _QUICK, Expected("pes", 0.05, 0.08)),
        "full": partial(_error, _FULL),
    },
)
