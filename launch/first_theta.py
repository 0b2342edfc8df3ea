"""The theta that a run starts from, and what its meta-losses are measured in."""

import dataclasses
from collections.abc import Sequence
from typing import Any

import jax
import numpy as np

from configs.base import RunConfig
from launch import bundles, errors
from launch.build import Experiment
from meta_train import LoptSystem, evaluation


def find(experiment: Experiment, config: RunConfig, key: jax.Array) -> Any:
    """The first theta: as the system draws it, and as far as it fits that of ``init_from``.

    Args:
        experiment: what is trained.
        config: complete config.
        key: of the training, from which ``MetaTrainer.init`` would draw the same theta.

    Raises:
        UserError: ``init_from`` is no bundle, or nothing of it fits.
    """
    theta = jax.jit(experiment.systems[0].init_theta)(jax.random.split(key, 3)[0])
    if config.init_from is None:
        return theta
    try:
        given = bundles.load(config.init_from)[1].theta
    except errors.UserError as error:
        raise errors.UserError(f"config.init_from={config.init_from}: {error}") from error
    taken = [name for name in theta if name in given and _fits(theta[name], given[name])]
    if not taken:
        raise errors.UserError(
            f"config.init_from={config.init_from}: no group of its theta fits; it has "
            f"{', '.join(given)}, the first theta {', '.join(theta)}, in other shapes where the "
            "names are the same"
        )
    print(f"{', '.join(taken)} of the first theta: from {config.init_from}")
    return theta | {name: given[name] for name in taken}


def in_units(experiment: Experiment, theta: Any, config: RunConfig, key: jax.Array) -> Experiment:
    """The experiment with its meta-losses in units of ``config.objective.unit``.

    Raises:
        UserError: a meta-loss of the first theta that is not above zero.
    """
    if config.objective.unit is None:
        return experiment
    systems = _scaled(experiment, experiment.systems, list(experiment.tasks), theta, config, key)
    trainer = dataclasses.replace(experiment.trainer, systems=systems)
    judges = systems
    if experiment.validation.systems is not experiment.systems:
        labels = list(config.meta_validation.tasks)
        judges = _scaled(experiment, experiment.validation.systems, labels, theta, config, key)
    validation = experiment.validation._replace(systems=judges, geometric=True)
    return experiment._replace(systems=systems, trainer=trainer, validation=validation)


def _scaled(
    experiment: Experiment,
    systems: tuple[Any, ...],
    labels: list[str],
    theta: Any,
    config: RunConfig,
    key: jax.Array,
) -> tuple[LoptSystem, ...]:
    def measure(unit: float, valid_unit: float) -> np.ndarray:
        trainer = experiment.trainer
        return evaluation.meta_losses(
            _with_units(systems, [unit] * len(systems), [valid_unit] * len(systems)),
            experiment.episodes,
            theta,
            key,
            config.meta_validation.num_seeds,
            trainer.devices,
            trainer.estimator.mean_over,
        )

    if config.objective.split != "mixed":
        units = valid_units = measure(1.0, 1.0)
    else:
        # Each of the two losses alone, in the unit of its weight, by the same program.
        weight = config.objective.valid_weight
        units = measure(1.0 - weight, np.inf) if weight < 1 else np.ones(len(systems))
        valid_units = measure(np.inf, weight) if weight > 0 else np.ones(len(systems))
    for label, *found in zip(labels, units, valid_units, strict=True):
        for unit in found:
            if not 0 < unit < np.inf:
                raise errors.UserError(
                    "config.objective.unit = 'first_theta': the first theta has the meta-loss "
                    f"{unit} on {label}; it must be a positive number"
                )
    return _with_units(systems, units, valid_units)


def _with_units(systems: Sequence[Any], units: Any, valid_units: Any) -> tuple[LoptSystem, ...]:
    return tuple(
        dataclasses.replace(system, unit=np.float32(unit), valid_unit=np.float32(valid_unit))
        for system, unit, valid_unit in zip(systems, units, valid_units, strict=True)
    )


def _fits(own: Any, given: Any) -> bool:
    shapes = [jax.tree.map(np.shape, tree) for tree in (own, given)]
    return shapes[0] == shapes[1]
