"""One optimizer on one task and its changes: tune it, then train from several seeds."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import jax
import numpy as np

from meta_train.evaluation import identity
from meta_train.evaluation.measures import mean_losses
from meta_train.evaluation.optimizers import Optimizer
from meta_train.evaluation.result_store import Store
from meta_train.evaluation.runner import Curves, Programs, Runner
from meta_train.evaluation.tuning import Budget, Hyperparameters, Tuned, tune
from meta_train.evaluation.workload import Workload

CRITERIA = ("mean_loss", "final_valid_loss")
_TUNING, _JUDGING = 0, 1
"""Folded into the evaluation's key: no baseline is tuned on the seeds that it is judged on."""


_BUDGET = Budget(num_grid=9, num_random=10)


@dataclasses.dataclass(frozen=True)
class Plan:
    """How every optimizer is tuned and judged.

    Attributes:
        num_seeds: training runs of each optimizer on each workload, at least 2.
        num_points: recorded points of every run; the steps are a multiple of them.
        valid_batches: batches of the validation split at each recorded point.
        budget: trials of a search.
        tuning_seeds: seeds that each trial is run from; none of them judges.
        criterion: what a search minimises, one of ``CRITERIA``.
        on_axes: whether baselines are tuned on every change of a task too; else they keep what was
            found on the task itself.
        reference: names of the baselines that targets and ratios are taken from; those that are
            not judged are left out.
        seed: initial parameters, batches and random search follow from it.
    """

    num_seeds: int = 5
    num_points: int = 10
    valid_batches: int = 8
    budget: Budget = _BUDGET
    tuning_seeds: int = 1
    criterion: str = CRITERIA[0]
    on_axes: bool = False
    reference: tuple[str, ...] = ("adam",)
    seed: int = 0

    def __post_init__(self) -> None:
        if self.criterion not in CRITERIA:
            known = " or ".join(CRITERIA)
            raise ValueError(f"criterion = {self.criterion!r} must be {known}.")
        if self.num_seeds < 2:
            raise ValueError(
                f"num_seeds = {self.num_seeds} must be at least 2, for a standard error."
            )
        if self.tuning_seeds < 1:
            raise ValueError(f"tuning_seeds = {self.tuning_seeds} must be at least 1.")

    @classmethod
    def short(
        cls, num_steps: int, num_seeds: int, reference: tuple[str, ...], seed: int = 0
    ) -> "Plan":
        """To judge within minutes: of each baseline, ten learning rates are tried.

        Each is tried from three seeds: with one, a rate that is good by chance may win.

        Args:
            num_steps: inner steps of all workloads, at most 50 of which are recorded.
            num_seeds: see above, as for ``reference`` and ``seed``.
            reference: see above.
            seed: see above.
        """
        points = max(x for x in range(1, 51) if num_steps % x == 0)
        return cls(num_seeds, points, budget=Budget(10, 0), tuning_seeds=3, reference=reference,
                   seed=seed)  # fmt: skip

    @property
    def tuning_keys(self) -> jax.Array:
        """The keys of the runs of each trial [tuning_seeds]."""
        key = jax.random.fold_in(jax.random.key(self.seed), _TUNING)
        return key[None] if self.tuning_seeds == 1 else jax.random.split(key, self.tuning_seeds)

    @property
    def judging_keys(self) -> jax.Array:
        """The keys of the runs that judge [num_seeds]."""
        key = jax.random.fold_in(jax.random.key(self.seed), _JUDGING)
        return jax.random.split(key, self.num_seeds)


class Prepared(NamedTuple):
    """A workload with what all optimizers share on it, computed when one of them first needs it."""

    workload: Workload
    programs: Programs
    fingerprint: identity.Fingerprint
    """The task's part of the keys of results."""


class Judged(NamedTuple):
    """One optimizer on one workload."""

    workload: Workload
    optimizer: str
    tuned: Tuned
    tuned_here: bool
    """True where the search was on this very workload, False where it was on the task itself."""
    source: str
    """The hyperparameters are from a "search", the "cache", or "shipped"."""
    curves: Curves


def prepare(workload: Workload, plan: Plan) -> Prepared:
    """Get a workload ready to be trained on.

    Raises:
        ValueError: its steps are no multiple of the recorded points.
    """
    span, rest = divmod(workload.num_steps, plan.num_points)
    if rest:
        raise ValueError(
            f"{workload.title}: {workload.num_steps} inner steps are no multiple of num_points = "
            f"{plan.num_points}, the points to record."
        )
    programs = Programs(workload.task, workload.num_steps, span, plan.valid_batches)
    return Prepared(workload, programs, identity.Fingerprint(workload.task))


def judge(
    optimizer: Optimizer, group: Sequence[Prepared], plan: Plan, store: Store, device: Any
) -> list[Judged]:
    """Judge an optimizer on a task and its changes; what is in the store is not computed again.

    Args:
        optimizer: the optimizer.
        group: the task itself, then its changes.
        plan: how.
        store: where results are looked for and kept.
        device: where it trains.
    """
    judged: list[Judged] = []
    tuned, source = Tuned({}, (), at_edge=False), "search"
    for one in group:
        train = _Trainer(optimizer, one, plan, device)
        tuned_here = not one.workload.axis or plan.on_axes
        if tuned_here and optimizer.space:
            key = tuning_key(optimizer, one.workload, one.fingerprint, plan)
            tuned, source = _tuned(optimizer, plan, key, store, train)
        base = _base_key(optimizer, one.workload, one.fingerprint, plan)
        curves = _curves(tuned.hyperparameters, plan, base, store, train)
        judged.append(Judged(one.workload, optimizer.name, tuned, tuned_here, source, curves))
    return judged


def tuning_key(
    optimizer: Optimizer, workload: Workload, fingerprint: identity.Fingerprint, plan: Plan
) -> dict[str, Any]:
    """What the outcome of a search is found by, as JSON."""
    return {
        **_base_key(optimizer, workload, fingerprint, plan),
        "kind": "tuned",
        "budget": list(plan.budget),
        "criterion": plan.criterion,
        # Of training losses it plays no role how often there is validation.
        "valid": [plan.num_points, plan.valid_batches] if plan.criterion != "mean_loss" else None,
        **({"tuning_seeds": plan.tuning_seeds} if plan.tuning_seeds != 1 else {}),
        "versions": identity.tuning_versions(),
    }


def _base_key(
    optimizer: Optimizer, workload: Workload, fingerprint: identity.Fingerprint, plan: Plan
) -> dict[str, Any]:
    declared = _declared(optimizer, workload)
    return {
        "format": identity.FORMAT,
        "task": fingerprint,
        "num_steps": workload.num_steps,
        **({"declared_num_steps": declared} if declared != workload.num_steps else {}),
        "optimizer": optimizer.identity,
        "seed": plan.seed,
    }


def _declared(optimizer: Optimizer, workload: Workload) -> int:
    """The number of steps that an optimizer is told; baselines' schedules keep the true one."""
    return workload.num_steps if optimizer.kind == "baseline" else workload.declared


def _tuned(
    optimizer: Optimizer, plan: Plan, key: Mapping[str, Any], store: Store, train: "_Trainer"
) -> tuple[Tuned, str]:
    found = store.load_json(key)
    if found is not None:
        return Tuned.from_json(found), "cache"
    found = store.load_shipped(key)
    if found is not None:
        return Tuned.from_json(found), "shipped"

    def measure(trials: Sequence[Hyperparameters]) -> np.ndarray:
        by_validation = plan.criterion == "final_valid_loss"
        runs = [trial for trial in trials for _ in range(plan.tuning_seeds)]
        keys = jax.numpy.tile(plan.tuning_keys, len(trials))
        curves = train(runs, keys, validated=by_validation)
        scores = mean_losses(curves.train_loss)
        if by_validation:
            scores = np.where(np.isfinite(scores), curves.valid_loss[:, -1], np.inf)
        return scores.reshape(len(trials), plan.tuning_seeds).mean(axis=1)

    tuned = tune(optimizer.space, plan.budget, measure, plan.seed)
    store.save_json(key, tuned.to_json())
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
    curves = train([hyperparameters] * plan.num_seeds, plan.judging_keys, validated=True)
    store.save_arrays(key, curves._asdict())
    return curves


class _Trainer:
    """Training runs of any number, as many at a time as there are seeds to judge."""

    def __init__(self, optimizer: Optimizer, on: Prepared, plan: Plan, device: Any) -> None:
        make, declared = optimizer.make, _declared(optimizer, on.workload)
        self._runner = Runner(on.programs, lambda theta, own: make(theta, own, declared))
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
