"""When two entries of configs and cards are the same task."""

import functools
import inspect
from collections.abc import Mapping
from typing import Any

from launch.construct import plain
from tasks import TASKS

_NOT_OF_THE_TASK = ("label", "name", "weight", "data_dir")


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
