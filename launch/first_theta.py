"""The theta that a run starts from, and what its meta-losses are measured in."""

import dataclasses
from typing import Any

import jax
import numpy as np

from launch import bundles, errors
from launch.build import Experiment
from launch.configuration import Config
from meta_train import LoptSystem, evaluation


def find(experiment: Experiment, config: Config, key: jax.Array) -> Any:
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


def in_units(experiment: Experiment, theta: Any, config: Config, key: jax.Array) -> Experiment:
    """The experiment with its meta-losses in units of ``config.objective.unit``.

    Raises:
        UserError: a meta-loss of the first theta that is not above zero.
    """
    if config.objective.unit is None:
        return experiment
    systems = _scaled(experiment, experiment.systems, list(experiment.tasks), theta, config, key)
    trainer = dataclasses.replace(experiment.trainer, systems=systems)
    judged = experiment.validation
    if judged.systems is experiment.systems:
        judged = judged._replace(systems=systems)
    else:
        labels = list(config.meta_validation.tasks)
        scaled = _scaled(experiment, judged.systems, labels, theta, config, key)
        judged = judged._replace(systems=scaled)
    return experiment._replace(systems=systems, trainer=trainer, validation=judged)


def _scaled(
    experiment: Experiment,
    systems: tuple[Any, ...],
    labels: list[str],
    theta: Any,
    config: Config,
    key: jax.Array,
) -> tuple[LoptSystem, ...]:
    trainer = experiment.trainer
    units = evaluation.meta_losses(
        systems,
        experiment.episodes,
        theta,
        key,
        config.meta_validation.num_seeds,
        trainer.devices,
        trainer.estimator.mean_over,
    )
    for label, unit in zip(labels, units, strict=True):
        if not 0 < unit < np.inf:
            raise errors.UserError(
                f"config.objective.unit = 'first_theta': the first theta has the meta-loss {unit} "
                f"on {label}; it must be a positive number"
            )
    return tuple(
        dataclasses.replace(system, unit=np.float32(unit))
        for system, unit in zip(systems, units, strict=True)
    )


def _fits(own: Any, given: Any) -> bool:
    shapes = [jax.tree.map(np.shape, tree) for tree in (own, given)]
    return shapes[0] == shapes[1]
