"""One optimizer on one task and its changes: tune it, then train from several seeds."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import jax
import numpy as np

from launch.evaluate import identity
from launch.evaluate.optimizers import Optimizer
from launch.evaluate.settings import Setting
from launch.evaluate.store import Store, load_shipped
from meta_train.evaluation import Course, Curves, Runner, measures
from meta_train.evaluation.tuning import Budget, Hyperparameters, Trial, Tuned, tune

CRITERIA = ("mean_loss", "final_valid_loss")
_TUNING, _JUDGING = 0, 1
"""Folded into the evaluation's key: no baseline is tuned on the seeds that it is judged on."""


class Plan(NamedTuple):
    """How every optimizer is tuned and judged; see configs/held_out.py."""

    seed: int
    num_seeds: int
    num_points: int
    valid_batches: int
    budget: Budget
    criterion: str
    on_axes: bool
    use_shipped: bool

    def span(self, num_steps: int) -> int:
        """Inner steps from one recorded point to the next."""
        return num_steps // self.num_points

    def key(self, use: int) -> jax.Array:
        """The key of tuning or of judging."""
        return jax.random.fold_in(jax.random.key(self.seed), use)


class Judged(NamedTuple):
    """One optimizer in one setting."""

    setting: Setting
    optimizer: str
    tuned: Tuned
    tuned_here: bool
    """Whether the search was in this very setting; else in that of the task itself."""
    source: str
    """Where the hyperparameters are from: "search", "cache" or "shipped"."""
    curves: Curves


def judge(
    optimizer: Optimizer,
    settings: Sequence[Setting],
    courses: Sequence[Course],
    fingerprints: Sequence[str],
    plan: Plan,
    store: Store,
    device: Any,
) -> list[Judged]:
    """Judge an optimizer in the settings of one task; what is in the store is not computed again.

    Args:
        optimizer: the optimizer.
        settings: the task itself, then its changes.
        courses: their training runs, in the same order.
        fingerprints: of their tasks, in the same order.
        plan: how.
        store: where results are looked for and kept.
        device: where it trains.
    """
    judged: list[Judged] = []
    tuned, source = Tuned({}, (), at_edge=False), "search"
    for course, setting, fingerprint in zip(courses, settings, fingerprints, strict=True):
        declared = _declared(optimizer, setting)
        train = _Trainer(optimizer, course, declared, plan, device)
        base = _base_key(optimizer, setting, fingerprint, plan)
        tuned_here = not setting.axis or plan.on_axes
        if tuned_here and optimizer.space:
            key = tuning_key(optimizer, setting, fingerprint, plan)
            tuned, source = _tuned(optimizer, plan, key, store, train)
        curves = _curves(tuned.hyperparameters, plan, base, store, train)
        judged.append(Judged(setting, optimizer.name, tuned, tuned_here, source, curves))
    return judged


def tuning_key(
    optimizer: Optimizer, setting: Setting, fingerprint: str, plan: Plan
) -> dict[str, Any]:
    """What the outcome of a search is found by, as JSON."""
    return {
        **_base_key(optimizer, setting, fingerprint, plan),
        "kind": "tuned",
        "budget": list(plan.budget),
        "criterion": plan.criterion,
        # Of training losses it plays no role how often there is validation.
        "valid": [plan.num_points, plan.valid_batches] if plan.criterion != "mean_loss" else None,
        "versions": identity.tuning_versions(),
    }


def _base_key(
    optimizer: Optimizer, setting: Setting, fingerprint: str, plan: Plan
) -> dict[str, Any]:
    declared = _declared(optimizer, setting)
    return {
        "format": identity.FORMAT,
        "task": fingerprint,
        "num_steps": setting.num_steps,
        **({"declared_num_steps": declared} if declared != setting.num_steps else {}),
        "optimizer": optimizer.identity,
        "seed": plan.seed,
    }


def _declared(optimizer: Optimizer, setting: Setting) -> int:
    """The number of steps that an optimizer is told; baselines' schedules keep the true one."""
    return setting.num_steps if optimizer.kind == "baseline" else setting.declared_num_steps


def _tuned(
    optimizer: Optimizer, plan: Plan, key: Mapping[str, Any], store: Store, train: "_Trainer"
) -> tuple[Tuned, str]:
    found = store.load_json(key)
    if found is not None:
        return _from_json(found), "cache"
    if plan.use_shipped:
        found = load_shipped(key)
        if found is not None:
            return _from_json(found), "shipped"

    def measure(trials: Sequence[Hyperparameters]) -> np.ndarray:
        keys = jax.numpy.repeat(plan.key(_TUNING)[None], len(trials))
        by_validation = plan.criterion == "final_valid_loss"
        curves = train(trials, keys, validated=by_validation)
        scores = measures.mean_losses(curves.train_loss)
        return (
            np.where(np.isfinite(scores), curves.valid_loss[:, -1], np.inf)
            if by_validation
            else scores
        )

    tuned = tune(optimizer.space, plan.budget, measure, plan.seed)
    store.save_json(key, _to_json(tuned))
    return tuned, "search"


def _curves(
    hyperparameters: Hyperparameters,
    plan: Plan,
    base: Mapping[str, Any],
    store: Store,
    train: "_Trainer",
) -> Curves:
    key = {
        **base,
        "kind": "curves",
        "hyperparameters": hyperparameters,
        "num_seeds": plan.num_seeds,
        "valid": [plan.num_points, plan.valid_batches],
        "versions": identity.run_versions(),
        "machine": identity.machine(),
    }
    found = store.load_arrays(key)
    if found is not None and found.keys() == set(Curves._fields):
        return Curves(**found)
    keys = jax.random.split(plan.key(_JUDGING), plan.num_seeds)
    curves = train([hyperparameters] * plan.num_seeds, keys, validated=True)
    store.save_arrays(key, curves._asdict())
    return curves


class _Trainer:
    """Training runs of any number, as many at a time as there are seeds to judge."""

    def __init__(
        self, optimizer: Optimizer, course: Course, declared: int, plan: Plan, device: Any
    ) -> None:
        make = optimizer.make
        self._runner = Runner(course, lambda theta, own: make(theta, own, declared))
        self._theta = optimizer.theta
        self._size = plan.num_seeds
        self._device = device

    def __call__(
        self, trials: Sequence[Hyperparameters], keys: jax.Array, validated: bool
    ) -> Curves:
        names = list(trials[0])
        table = np.asarray([[trial[name] for name in names] for trial in trials], np.float32)
        index = np.arange(-(-len(trials) // self._size) * self._size).clip(max=len(trials) - 1)
        parts = []
        with jax.default_device(self._device):
            for rows in index.reshape(-1, self._size):
                own = {name: table[rows, i] for i, name in enumerate(names)}
                shared, own, chosen = jax.device_put((self._theta, own, keys[rows]), self._device)
                parts.append(self._runner(shared, own, chosen, validated))
        *curves, seconds = zip(*parts, strict=True)
        train, valid, accuracy = (np.concatenate(x)[: len(trials)] for x in curves)
        return Curves(train, valid, accuracy, np.asarray(np.mean(seconds)))


def _to_json(tuned: Tuned) -> dict[str, Any]:
    names = list(tuned.hyperparameters)
    return {
        "names": names,
        "best": [tuned.hyperparameters[name] for name in names],
        "at_edge": tuned.at_edge,
        "trials": [
            [trial.score if np.isfinite(trial.score) else None]
            + [trial.hyperparameters[name] for name in names]
            for trial in tuned.trials
        ],
    }


def _from_json(entry: Mapping[str, Any]) -> Tuned:
    def named(values: Sequence[float]) -> Hyperparameters:
        return dict(zip(entry["names"], values, strict=True))

    trials = (
        Trial(named(values), np.inf if score is None else score)
        for score, *values in entry["trials"]
    )
    return Tuned(named(entry["best"]), tuple(trials), entry["at_edge"])
