"""The comparison that ends a run: an evaluation of its theta on a small suite."""

from collections.abc import Mapping
from typing import Any

import jax

import lopt
from configs.base import RunConfig, TaskEntry
from launch.build import Experiment
from launch.evaluate.run import show
from lopt.card_limits import LEARNED
from meta_train.evaluation import Budget, Evaluation, Plan, Workload, baseline, evaluate, learned
from meta_train.evaluation.workload import HELD_OUT, META_TRAINING

_MOST_POINTS = 50
"""Of a curve."""
_BUDGET = Budget(num_grid=10, num_random=0)
"""Learning rates of each baseline."""
_TUNING_SEEDS = 3
"""None of which judges. With one, a rate that is good by chance may be chosen."""
_SEED = 1_000_003
"""Added to that of the run."""


def compare(experiment: Experiment, config: RunConfig, theta: Any) -> Evaluation:
    """Judge theta against ``config.comparison.baselines``, on the run's tasks and held-out ones.

    Every process of a run does it by itself, on its own devices.
    """
    assert experiment.optimizer is not None
    section = config.comparison
    num_steps = section.num_steps or experiment.episodes.max
    suite = [
        *_workloads(experiment.tasks, config.tasks, META_TRAINING, num_steps),
        *_workloads(experiment.held_out, section.held_out, HELD_OUT, num_steps),
    ]
    names = section.baselines
    plan = Plan(
        num_seeds=section.num_seeds,
        num_points=max(x for x in range(1, _MOST_POINTS + 1) if num_steps % x == 0),
        budget=_BUDGET,
        tuning_seeds=_TUNING_SEEDS,
        reference=names,
        seed=config.seed + _SEED,
    )
    print(f"comparing over {num_steps} inner steps, {plan.num_seeds} seeds", flush=True)
    bundle = lopt.Bundle(experiment.optimizer, theta, {})
    optimizers = [learned(bundle, LEARNED), *(baseline(name) for name in names)]
    devices = jax.local_devices()[: experiment.trainer.devices.count]
    found = evaluate(optimizers, suite, plan, devices=devices)
    show(found)
    return found


def _workloads(
    tasks: Mapping[str, Any], entries: Mapping[str, TaskEntry], set_: str, num_steps: int
) -> list[Workload]:
    found = []
    for label, task in tasks.items():
        name, fields = entries[label].name, entries[label].fields
        found.append(Workload(label, task, num_steps, set=set_, name=name, fields=fields))
    return found
