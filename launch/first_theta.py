"""The theta that a run starts from, and what its meta-losses are measured in."""

import dataclasses
from typing import Any

import jax
import numpy as np

from configs.base import RunConfig
from launch import bundles, errors
from launch.build import Experiment
from meta_train import evaluation
from meta_train.groups import fitting
from meta_train.systems import units


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
    with errors.mistakes(f"config.init_from={config.init_from}: ", errors.UserError):
        given = bundles.load(config.init_from)[1].theta
    taken = fitting(theta, given)
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
    trainer, validation = experiment.trainer, experiment.validation

    def measure(systems: tuple[Any, ...], axes: Any) -> np.ndarray:
        seeds, mean_over = config.meta_validation.num_seeds, trainer.estimator.mean_over
        return evaluation.meta_losses(
            systems, experiment.episodes, theta, key, seeds, trainer.devices, mean_over, axes
        )

    with errors.mistakes("config.objective.unit = 'first_theta' cannot be used: ", units.NoUnit):
        systems = judges = units.in_units(experiment.systems, list(experiment.tasks), measure)
        if validation.systems is not experiment.systems:
            labels = list(config.meta_validation.tasks)
            judges = units.in_units(validation.systems, labels, measure)
    return experiment._replace(
        systems=systems,
        trainer=dataclasses.replace(trainer, systems=systems),
        validation=validation._replace(systems=judges, geometric=True),
    )
