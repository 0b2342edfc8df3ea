"""Tasks by name and fields: making one, and whether two are the same."""

import functools
import inspect
import json
from collections.abc import Mapping
from typing import Any

from tasks.base import TASKS, Task
from tasks.checks import check_choice

_NOT_OF_THE_TASK = ("label", "name", "weight", "data_dir")
"""What else stands beside a task's fields in configs and cards."""


def make(name: str, **overrides: Any) -> Task:
    """Make a task of the registry; data are loaded here, not at import.

    Args:
        name: a name in ``TASKS``.
        **overrides: fields of the task, and ``data_dir``, which tasks without data ignore.

    Returns:
        The task, its data on the default device.

    Raises:
        ValueError: the name, a field or a value is not valid.
        MissingData: the data set is not prepared; the message says what to run.
    """
    check_choice("task", name, TASKS)
    factory = TASKS[name]
    known = _fields(factory)
    if known is not None:
        if "data_dir" not in known:
            overrides.pop("data_dir", None)
        for field in overrides:
            check_choice(f"field of task {name!r}:", field, known)
    return factory(**overrides)


def identity(name: str, fields: Mapping[str, Any]) -> tuple[str, str]:
    """What two entries of configs and cards have in common that make the same task.

    It is the function behind the name and all its arguments, those that have their defaults
    included; not where the data lie.
    """
    given = {field: value for field, value in fields.items() if field not in _NOT_OF_THE_TASK}
    factory = TASKS.get(name)
    if factory is not None:  # else it is of code that was not imported
        parameters = inspect.signature(factory).parameters.values()
        defaults = {x.name: x.default for x in parameters if x.default is not x.empty}
        defaults.pop("data_dir", None)
        given = defaults | given
        while isinstance(factory, functools.partial):
            factory = factory.func
        name = f"{factory.__module__}.{factory.__qualname__}"
    return name, json.dumps(given, sort_keys=True, default=repr)


def _fields(factory: Any) -> list[str] | None:
    """Names of the keyword arguments; None where the factory takes any."""
    parameters = inspect.signature(factory).parameters.values()
    if any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters):
        return None
    return [parameter.name for parameter in parameters]
