"""The three sets of tasks: which an optimizer was meta-trained on, chosen by, or has never seen."""

from collections.abc import Iterable, Iterator, Mapping
from typing import NamedTuple

from meta_train.evaluation.optimizers import Optimizer
from meta_train.evaluation.workload import META_TRAINING, SETS, VALIDATION, Workload
from tasks.registry import identity

_CARD = {VALIDATION: "validation_tasks", META_TRAINING: "tasks"}
"""Where a card lists the tasks of a set."""


class Listed(NamedTuple):
    """A task that a card lists."""

    set: str
    label: str


class Misnamed(NamedTuple):
    """A workload whose set is said to be purer than it is to an optimizer."""

    workload: Workload
    optimizer: Optimizer
    listed: Listed


def misnamed(suite: Iterable[Workload], optimizers: Iterable[Optimizer]) -> Iterator[Misnamed]:
    """The workloads that a bundle's card lists in a set nearer to meta-training than their own.

    A task is the same where its name and all its fields are, defaults included.
    """
    workloads = [(x, identity(x.name, x.fields)) for x in suite]
    for optimizer in optimizers:
        listed = listed_tasks(optimizer) or {}
        for workload, key in workloads:
            found = listed.get(key)
            if found is not None and SETS.index(found.set) < SETS.index(workload.set):
                yield Misnamed(workload, optimizer, found)


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
