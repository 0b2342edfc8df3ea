"""Units in which one theta has the meta-loss 1 on every task, so that they can be weighed."""

import dataclasses
from collections.abc import Callable, Sequence

import numpy as np

from meta_train.systems.lopt_system import LoptSystem
from meta_train.types import UnrolledSystem


class NoUnit(ValueError):
    """A meta-loss that cannot be a unit; the message says on what."""


def in_units(
    systems: Sequence[UnrolledSystem],
    names: Sequence[str],
    measure: Callable[[tuple[LoptSystem, ...]], np.ndarray],
) -> tuple[LoptSystem, ...]:
    """The systems with losses in units of those that one theta has.

    Where the objective mixes training and validation loss, each has a unit of its own.

    Args:
        systems: all of them have the same objective.
        names: of the systems, for messages.
        measure: gives the meta-loss of that theta on each system, see ``meta_losses``.

    Raises:
        NoUnit: a meta-loss is not above zero, or not finite; or a system is no training of a task.
    """
    trainings = [system for system in systems if isinstance(system, LoptSystem)]
    if len(trainings) < len(systems):
        raise NoUnit("only the training of tasks has units")
    systems = trainings
    ones = np.ones(len(systems))
    objective = systems[0].objective
    if objective.split != "mixed":
        units = valid_units = measure(_with_units(systems, ones, ones))
    else:
        # Each of the two losses alone, in the unit of its weight, by the same program.
        weight, none = objective.valid_weight, np.inf * ones
        units = measure(_with_units(systems, (1 - weight) * ones, none)) if weight < 1 else ones
        valid_units = measure(_with_units(systems, none, weight * ones)) if weight > 0 else ones
    for name, *found in zip(names, units, valid_units, strict=True):
        for unit in found:
            if not 0 < unit < np.inf:
                raise NoUnit(f"the meta-loss on {name} is {unit}; it must be a positive number")
    return _with_units(systems, units, valid_units)


def _with_units(
    systems: Sequence[LoptSystem], units: np.ndarray, valid_units: np.ndarray
) -> tuple[LoptSystem, ...]:
    return tuple(
        dataclasses.replace(system, unit=np.float32(unit), valid_unit=np.float32(valid_unit))
        for system, unit, valid_unit in zip(systems, units, valid_units, strict=True)
    )
