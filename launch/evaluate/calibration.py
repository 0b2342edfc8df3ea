"""One calibration, from a config's tasks to the folder with calibrated.json."""

import json
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

import jax
import joblib
import numpy as np

from configs.base import RunConfig
from launch import build, cache, errors, signals, user_code, workdir
from launch.evaluate.calibrated import CALIBRATED
from launch.evaluate.optimizers import make_baselines
from meta_train.evaluation import Optimizer, Programs, Store, identity
from meta_train.evaluation.calibration import Measure, calibrate, on_task
from meta_train.evaluation.store import write_atomically
from meta_train.evaluation.tuning import Budget, Hyperparameters, Tuned
from tasks import Task

_PARTS = "parts"
_CALIBRATING = 2
"""Folded into the config's key; tuning and judging fold in 0 and 1."""


class Plan(NamedTuple):
    """How much a calibration takes; see ``launch.calibrate``."""

    num_steps: int
    num_seeds: int
    num_grid: int
    num_random: int
    workers: int | None
    command: str
    """That makes the file again."""


class _Trained(NamedTuple):
    """A task that is calibrated on."""

    label: str
    programs: Programs
    fingerprint: str


def calibrate_all(config: RunConfig, names: Sequence[str], plan: Plan, folder: Path) -> None:
    """Calibrate baselines on the tasks of a config and write calibrated.json into ``folder``.

    A calibration that was stopped goes on with the trials that are not finished.

    Args:
        config: complete config of a meta-training.
        names: of the baselines.
        plan: how.
        folder: work folder.

    Raises:
        UserError: a task or a baseline that does not exist, data that are not there, or a folder
            that another command writes into; nothing was written then.
    """
    cache.enable()
    with signals.listen():
        user_code.import_all(config.imports)
        baselines = make_baselines({name: {"name": name} for name in names})
        tasks, _ = build.make_tasks(config.tasks, "tasks", config.data_dir)
        if not tasks:
            raise errors.UserError("config.tasks is empty; name a task: --config.tasks=digits_mlp")
        trained = [
            _Trained(label, _programs(task, plan.num_steps), identity.fingerprint(task))
            for label, task in tasks.items()
        ]
        on_cpu = jax.default_backend() == "cpu"
        workers = plan.workers or (joblib.cpu_count() if on_cpu else 1)
        entries = {}
        with workdir.lock(folder), ThreadPoolExecutor(workers) as pool, errors.writing():
            store = Store([folder / _PARTS])
            for one in baselines:
                tuned = _calibrated(one, trained, plan, config.seed, store, pool.map)
                entries[one.name] = _entry(tuned, config, plan)
                print(_line(one.name, entries[one.name]), flush=True)
                text = json.dumps(entries, indent=1) + "\n"
                write_atomically(folder / CALIBRATED, text.encode())
        print(f"done: {folder / CALIBRATED}", flush=True)


def _programs(task: Task, num_steps: int) -> Programs:
    """In one span, as there is no validation."""
    return Programs(task, num_steps, span=num_steps, valid_batches=1)


def _calibrated(
    baseline: Optimizer,
    trained: Sequence[_Trained],
    plan: Plan,
    seed: int,
    store: Store,
    map_tasks: Callable,
) -> Tuned:
    measures = [_stored(baseline, task, plan, seed, store) for task in trained]
    budget = Budget(plan.num_grid, plan.num_random)
    return calibrate(baseline.space, budget, measures, seed, map_tasks)


def _stored(baseline: Optimizer, task: _Trained, plan: Plan, seed: int, store: Store) -> Measure:
    """The measure on a task, which trains only for what is not in the store."""
    key = jax.random.fold_in(jax.random.key(seed), _CALIBRATING)
    keys = jax.random.split(key, plan.num_seeds)
    train = on_task(task.programs, lambda own: baseline.make((), own, plan.num_steps), keys)
    base = {
        "kind": "calibration",
        "format": identity.FORMAT,
        "task": task.fingerprint,
        "num_steps": plan.num_steps,
        "optimizer": baseline.identity,
        "seed": seed,
        "num_seeds": plan.num_seeds,
        "versions": identity.tuning_versions(),
    }

    def measure(trials: Sequence[Hyperparameters]) -> np.ndarray:
        key = {**base, "trials": list(trials)}
        found = store.load_json(key)
        if found is None:
            try:
                found = train(trials).tolist()
            except ValueError as error:
                raise errors.UserError(f"config.tasks.{task.label}: {error}") from error
            store.save_json(key, found)
        return np.asarray(found)

    return measure


def _entry(tuned: Tuned, config: RunConfig, plan: Plan) -> dict[str, Any]:
    values = tuned.hyperparameters.items()
    return {
        "hyperparameters": {name: float(f"{value:.6g}") for name, value in values},
        "score": round(min(trial.score for trial in tuned.trials), 6),
        "at_edge": tuned.at_edge,
        "budget": {"num_grid": plan.num_grid, "num_random": plan.num_random},
        "num_steps": plan.num_steps,
        "num_seeds": plan.num_seeds,
        "seed": config.seed,
        "tasks": list(config.tasks),
        "versions": identity.tuning_versions(),
        "command": plan.command,
    }


def _line(name: str, entry: Mapping[str, Any]) -> str:
    values = ", ".join(f"{key} {value:.4g}" for key, value in entry["hyperparameters"].items())
    edge = "; the learning rate is at the edge of its range" if entry["at_edge"] else ""
    loss = f"{np.exp(entry['score']):.4g} of the first loss"
    return f"{name}: {values}: {loss} over {len(entry['tasks'])} tasks{edge}"
