"""Units in which one theta has the meta-loss 1 on every task, so that they can be weighed."""

import dataclasses
from collections.abc import Callable, Sequence

import jax
import numpy as np

from meta_train.systems.lopt_system import LoptSystem
from meta_train.types import UnrolledSystem


class NoUnit(ValueError):
    """A meta-loss that cannot be a unit; the message says on what."""


def in_units(
    systems: Sequence[UnrolledSystem],
    names: Sequence[str],
    measure: Callable[[tuple[LoptSystem, ...], Callable[[LoptSystem], LoptSystem]], np.ndarray],
) -> tuple[LoptSystem, ...]:
    """The systems with losses in units of those that one theta has.

    Where the objective mixes training and validation loss, each has a unit of its own.

    Args:
        systems: all of them have the same objective.
        names: of the systems, for messages.
        measure: gives the meta-loss of that theta on each system and variant, see ``meta_losses``.

    Raises:
        NoUnit: a meta-loss is not above zero, or not finite; or a system is no training of a task.
    """
    trainings = [system for system in systems if isinstance(system, LoptSystem)]
    if len(trainings) < len(systems):
        raise NoUnit("only the training of tasks has units")
    systems = trainings
    ones = np.ones((len(systems), 2))
    objective = systems[0].objective
    if objective.split == "mixed":
        # Variants of one training: each of the two losses alone, in the unit of its weight.
        weights = np.array((1 - objective.valid_weight, objective.valid_weight))
        alone = np.where(np.eye(2) * weights > 0, weights, np.inf)
        found = measure(_with_units(systems, ones * alone[0], ones * alone[1]), unit_axes)
        units, valid_units = np.where(weights > 0, found, 1.0).T
    else:
        units = valid_units = measure(_with_units(systems, ones, ones), unit_axes)[:, 0]
    for name, *found in zip(names, units, valid_units, strict=True):
        for unit in found:
            if not 0 < unit < np.inf:
                raise NoUnit(f"the meta-loss on {name} is {unit}; it must be a positive number")
    return _with_units(systems, units, valid_units)


def unit_axes(system: LoptSystem) -> LoptSystem:
    """The ``axes`` of ``meta_losses`` where units have a leading axis."""
    return dataclasses.replace(jax.tree.map(lambda _: None, system), unit=0, valid_unit=0)


def _with_units(
    systems: Sequence[LoptSystem], units: np.ndarray, valid_units: np.ndarray
) -> tuple[LoptSystem, ...]:
    return tuple(
        dataclasses.replace(
            system, unit=np.asarray(unit, np.float32), valid_unit=np.asarray(valid_unit, np.float32)
        )
        for system, unit, valid_unit in zip(systems, units, valid_units, strict=True)
    )
