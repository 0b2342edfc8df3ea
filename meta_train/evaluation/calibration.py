"""One setting of an optimizer for many tasks, as who uses an optimizer without tuning it has it.

The search is that of ``tuning``, but a trial is scored over all tasks together: by the mean over
tasks, and over the seeds of each, of the logarithm of a run's mean training loss in units of the
run's first loss. So tasks of all units and scales count alike, and exp(score) is a geometric mean.
"""

import dataclasses
import functools
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import jax
import numpy as np
import optax
from etils import epath
from jaxtyping import Float

from meta_train.evaluation import identity
from meta_train.evaluation.baselines import Range
from meta_train.evaluation.measures import Losses, mean_losses
from meta_train.evaluation.optimizers import Optimizer
from meta_train.evaluation.result_store import Store
from meta_train.evaluation.runner import Programs, Runner
from meta_train.evaluation.tuning import Budget, Hyperparameters, Tuned, tune
from tasks import Task

_CALIBRATING = 2
"""Folded into the key; an evaluation folds in 0 to tune and 1 to judge."""
LOWEST, HIGHEST = 1e-6, 10.0
"""Bounds of a run's mean loss in units of its first.

Below the first nothing more is gained: one task whose loss comes to zero does not decide for all.
Above the second nothing more is lost: a run that diverges is as bad as one of ten times its first
loss, so that settings are told apart also where each of them diverges somewhere.
"""

Measure = Callable[[Sequence[Hyperparameters]], Float[np.ndarray, " trials"]]
"""Scores of several choices of hyperparameters on one task."""


class NoLogarithm(ValueError):
    """The first loss of a run is not above zero."""


def log_losses(losses: Losses) -> Float[np.ndarray, " runs"]:
    """Logarithm of each run's mean loss in units of its first, within ``LOWEST`` and ``HIGHEST``.

    Raises:
        NoLogarithm: a first loss that is not above zero.
    """
    first = np.asarray(losses[:, 0], np.float64)
    if not (first > 0).all():
        raise NoLogarithm(
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


@dataclasses.dataclass(frozen=True)
class Calibration:
    """Tasks on which every setting of an optimizer is tried, and how.

    Attributes:
        tasks: tasks by label, each of which counts alike.
        num_steps: inner steps of every training run.
        num_seeds: training runs of every setting on each task.
        budget: number of settings.
        seed: everything random follows from it.
        store: where scores are looked for and kept, so that what was stopped resumes.
    """

    tasks: Mapping[str, Task]
    num_steps: int
    num_seeds: int
    budget: Budget
    seed: int = 0
    store: Store = dataclasses.field(default_factory=lambda: Store([]))

    def of(
        self, optimizer: Optimizer, map_tasks: Callable[[Callable, Sequence], Iterable] = map
    ) -> Tuned:
        """Search for the setting of an optimizer; ``map_tasks`` as for ``calibrate``.

        Raises:
            NoLogarithm: the first loss on a task is not above zero; the message names the task.
        """
        measures = [self._stored(optimizer, label) for label in self.tasks]
        return calibrate(optimizer.space, self.budget, measures, self.seed, map_tasks)

    def record(self, tuned: Tuned) -> dict[str, Any]:
        """What ``of`` has found, and how, as plain data."""
        values = tuned.hyperparameters.items()
        return {
            "hyperparameters": {name: float(f"{value:.6g}") for name, value in values},
            "score": round(min(trial.score for trial in tuned.trials), 6),
            "at_edge": tuned.at_edge,
            "budget": self.budget._asdict(),
            "num_steps": self.num_steps,
            "num_seeds": self.num_seeds,
            "seed": self.seed,
            "tasks": list(self.tasks),
            "versions": identity.tuning_versions(),
        }

    @functools.cached_property
    def _shared(self) -> dict[str, tuple[Programs, identity.Fingerprint]]:
        """What all optimizers share on a task; in one span, as there is no validation."""
        return {
            label: (Programs(task, self.num_steps, self.num_steps, 1), identity.Fingerprint(task))
            for label, task in self.tasks.items()
        }

    def _stored(self, optimizer: Optimizer, label: str) -> Measure:
        """The measure on a task, which trains only for what is not in the store."""
        programs, fingerprint = self._shared[label]
        key = jax.random.fold_in(jax.random.key(self.seed), _CALIBRATING)
        keys = jax.random.split(key, self.num_seeds)
        train = on_task(programs, lambda own: optimizer.make((), own, self.num_steps), keys)
        base = {
            "kind": "calibration",
            "format": identity.FORMAT,
            "task": fingerprint,
            "num_steps": self.num_steps,
            "optimizer": optimizer.identity,
            "seed": self.seed,
            "num_seeds": self.num_seeds,
            "versions": identity.tuning_versions(),
        }

        def measure(trials: Sequence[Hyperparameters]) -> np.ndarray:
            place = {**base, "trials": list(trials)}
            found = self.store.load_json(place)
            if found is None:
                try:
                    found = train(trials).tolist()
                except NoLogarithm as error:
                    raise NoLogarithm(f"{label}: {error}") from error
                self.store.save_json(place, found)
            return np.asarray(found)

        return measure


def read_settings(path: epath.PathLike) -> dict[str, dict[str, float]]:
    """The setting of each baseline in a file of records by name, as `lopt calibrate` writes it.

    Raises:
        ValueError: it is none.
    """
    try:
        entries = json.loads(epath.Path(path).read_bytes())
        return {name: dict(entry["hyperparameters"]) for name, entry in entries.items()}
    except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
        reason = getattr(error, "strerror", None) or error
        raise ValueError(f"{path} is no file of lopt calibrate ({reason})") from error
