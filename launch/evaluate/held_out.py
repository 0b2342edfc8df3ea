"""Refusing to call a task held out that an optimizer was meta-trained on."""

import functools
import inspect
from collections.abc import Iterable, Mapping
from typing import Any

from launch import errors
from launch.construct import plain
from launch.evaluate.optimizers import Optimizer
from launch.evaluate.settings import Setting
from tasks import TASKS

_NOT_OF_THE_TASK = ("label", "name", "weight", "data_dir")


def check(settings: Iterable[Setting], optimizers: Iterable[Optimizer]) -> None:
    """Compare the tasks with those that the bundles' cards name.

    Raises:
        UserError: a task of the same name and the same fields, defaults included.
    """
    for optimizer in optimizers:
        trained = meta_training_tasks(optimizer) or {}
        for setting in settings:
            label = trained.get(identity(setting.name, setting.fields))
            if label is not None and setting.held_out:
                raise errors.UserError(
                    f"{setting.title} is not held out: {optimizer.name} was meta-trained on it, as "
                    f"{label}; change its fields, leave it out, or say that it is a meta-training "
                    f"task: --config.tasks.{setting.label}.held_out=False"
                )


def meta_training_tasks(optimizer: Optimizer) -> dict[tuple, str] | None:
    """Labels of the tasks that it was meta-trained on, by identity; None where nobody says."""
    entries = optimizer.card.get("meta_training")
    tasks = entries.get("tasks") if isinstance(entries, Mapping) else None
    if not isinstance(tasks, list) or not all(isinstance(task, Mapping) for task in tasks):
        return None
    return {
        identity(str(task.get("name")), task): str(task.get("label", task.get("name")))
        for task in tasks
    }


def identity(name: str, fields: Mapping[str, Any]) -> tuple:
    """What two entries have in common that make the same task.

    It is the function behind the name and all its arguments, those that have their defaults
    included; not where the data lie.
    """
    given = {
        field: plain(value) for field, value in fields.items() if field not in _NOT_OF_THE_TASK
    }
    factory = TASKS.get(name)
    if factory is None:  # code that the evaluation does not have
        return (name, repr(sorted(given.items())))
    parameters = inspect.signature(factory).parameters.values()
    defaults = {
        x.name: plain(x.default)
        for x in parameters
        if x.name != "data_dir" and x.default is not x.empty
    }
    while isinstance(factory, functools.partial):
        factory = factory.func
    function = f"{factory.__module__}.{factory.__qualname__}"
    return (function, repr(sorted((defaults | given).items())))
