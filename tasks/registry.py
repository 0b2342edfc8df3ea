"""Make a task from its name and fields, with errors that say what there is."""

import inspect
from typing import Any

from tasks.base import TASKS, Task
from tasks.checks import check_choice


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


def _fields(factory: Any) -> list[str] | None:
    """Names of the keyword arguments; None where the factory takes any."""
    parameters = inspect.signature(factory).parameters.values()
    if any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters):
        return None
    return [parameter.name for parameter in parameters]
