"""The three sets of tasks: refusing to call a task purer than it is to an optimizer."""

from collections.abc import Iterable, Mapping
from typing import NamedTuple

from launch import errors
from meta_train.evaluation import Optimizer, Workload
from meta_train.evaluation.workload import HELD_OUT, META_TRAINING, SETS, VALIDATION
from tasks.registry import identity

_CARD = {VALIDATION: "validation_tasks", META_TRAINING: "tasks"}
"""Where a card lists the tasks of a set."""
_USES = {VALIDATION: "was chosen by it", META_TRAINING: "was meta-trained on it"}
_WORDS = {HELD_OUT: "held out", VALIDATION: "a validation task"}


class Listed(NamedTuple):
    """A task that a card lists."""

    set: str
    label: str


def check(suite: Iterable[Workload], optimizers: Iterable[Optimizer]) -> None:
    """Compare the tasks with those that the bundles' cards list.

    Raises:
        UserError: a task of the same name and the same fields, defaults included, is in a set that
            is nearer to meta-training than the one that the config names.
    """
    for optimizer in optimizers:
        listed = listed_tasks(optimizer) or {}
        for workload in suite:
            found = listed.get(identity(workload.name, workload.fields))
            if found is not None and SETS.index(found.set) < SETS.index(workload.set):
                raise errors.UserError(
                    f"{workload.title} is not {_WORDS[workload.set]}: {optimizer.name} "
                    f"{_USES[found.set]}, as {found.label}; change its fields, leave it out, or "
                    f"name its set: --config.tasks.{workload.label}.set={found.set}"
                )


def listed_tasks(optimizer: Optimizer) -> dict[tuple[str, str], Listed] | None:
    """Tasks that it was meta-trained on or chosen by, by identity; None where nobody says."""
    entries = optimizer.card.get("meta_training")
    if not isinstance(entries, Mapping) or not isinstance(entries.get("tasks"), list):
        return None
    return {
        identity(str(task.get("name")), task): Listed(of, str(task.get("label", task.get("name"))))
        for of, field in _CARD.items()
        for task in entries.get(field) or []
        if isinstance(task, Mapping)
    }
