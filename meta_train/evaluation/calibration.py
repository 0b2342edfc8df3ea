"""One setting of an optimizer for many tasks, as who uses an optimizer without tuning it has it.

The search is that of ``tuning``, but a trial is scored over all tasks together: by the mean over
tasks, and over the seeds of each, of the logarithm of a run's mean training loss in units of the
run's first loss. So tasks of all units and scales count alike, and exp(score) is a geometric mean.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import jax
import numpy as np
import optax
from jaxtyping import Float

from meta_train.evaluation.baselines import Range
from meta_train.evaluation.measures import Losses, mean_losses
from meta_train.evaluation.runner import Programs, Runner
from meta_train.evaluation.tuning import Budget, Hyperparameters, Tuned, tune

LOWEST, HIGHEST = 1e-6, 10.0
"""Bounds of a run's mean loss in units of its first.

Below the first nothing more is gained: one task whose loss comes to zero does not decide for all.
Above the second nothing more is lost: a run that diverges is as bad as one of ten times its first
loss, so that settings are told apart also where each of them diverges somewhere.
"""

Measure = Callable[[Sequence[Hyperparameters]], Float[np.ndarray, " trials"]]
"""Scores of several choices of hyperparameters on one task."""


def log_losses(losses: Losses) -> Float[np.ndarray, " runs"]:
    """Logarithm of each run's mean loss in units of its first, within ``LOWEST`` and ``HIGHEST``.

    Raises:
        ValueError: a first loss that is not above zero.
    """
    first = np.asarray(losses[:, 0], np.float64)
    if not (first > 0).all():
        raise ValueError(
            f"the first loss of a run is {first.min():.4g}; settings are compared by the logarithm "
            "of losses, which must be above 0."
        )
    return np.log(np.clip(mean_losses(losses) / first, LOWEST, HIGHEST))


def on_task(
    programs: Programs,
    make_optimizer: Callable[[Any], optax.GradientTransformation],
    keys: jax.Array,
) -> Measure:
    """The measure of an optimizer on one task: the mean over seeds of ``log_losses``.

    Args:
        programs: of the task, with the number of inner steps.
        make_optimizer: from hyperparameters to the optimizer.
        keys: typed PRNG keys [seeds], the same for every choice.
    """
    runner = Runner(programs, lambda _, own: make_optimizer(own))

    def measure(trials: Sequence[Hyperparameters]) -> Float[np.ndarray, " trials"]:
        own = {
            name: np.repeat(np.asarray([trial[name] for trial in trials], np.float32), len(keys))
            for name in trials[0]
        }
        curves = runner((), own, jax.numpy.tile(keys, len(trials)), validated=False)
        return log_losses(curves.train_loss).reshape(len(trials), len(keys)).mean(axis=1)

    return measure


def calibrate(
    space: Mapping[str, Range],
    budget: Budget,
    measures: Sequence[Measure],
    seed: int,
    map_tasks: Callable[[Callable, Sequence], Iterable] = map,
) -> Tuned:
    """Search for the one setting with the lowest mean score over tasks.

    Args:
        space: ranges of the hyperparameters.
        budget: number of settings that are tried, each on every task.
        measures: of every task, see ``on_task``.
        seed: of the random search.
        map_tasks: calls a function with every measure, in order; a pool's runs tasks side by side.
    """

    def over_tasks(trials: Sequence[Hyperparameters]) -> Float[np.ndarray, " trials"]:
        return np.mean(list(map_tasks(lambda measure: measure(trials), measures)), axis=0)

    return tune(space, budget, over_tasks, seed)
