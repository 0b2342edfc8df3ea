"""What a config and the flags of ``lopt diagnose`` ask to be measured."""

import dataclasses
from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
from etils import epath

import meta_train
from checkpoints import Store
from configs.base import RunConfig
from launch import build, bundles, errors, first_theta
from launch.diagnose import Arguments
from launch.run import validation_key
from meta_train.diagnosis import Plan, check
from meta_train.groups import same_shapes
from meta_train.run import run_folder


class Asked(NamedTuple):
    """The arguments of ``meta_train.diagnosis.diagnose``."""

    system: meta_train.UnrolledSystem
    estimators: dict[str, meta_train.GradientEstimator]
    theta: Any
    plan: Plan


def prepare(config: RunConfig, given: Arguments, folder: epath.Path) -> Asked:
    """Build and check everything, before anything is measured.

    Raises:
        UserError: a name that is not known, a value out of range, or a theta of another shape.
    """
    config = _of_one_task(config, given.task)
    experiment = build.build(config)
    theta = first_theta.find(experiment, config, jax.random.key(config.seed))
    experiment = first_theta.in_units(experiment, theta, config, validation_key(config))
    trainer = experiment.trainer
    if given.theta is not None:
        theta = _theta_of(given.theta, theta)
    estimators = _estimators(config, trainer.estimator, given.estimators)
    with errors.mistakes():
        plan = Plan(
            truncation_lengths=given.truncation_lengths,
            num_pairs=given.num_pairs,
            std_factors=given.std_factors,
            seconds=60 * given.minutes,
            seed=config.seed,
            devices=trainer.devices,
            execution=trainer.execution,
            folder=folder / "parts",
        )
        check(estimators, plan)
    return Asked(experiment.systems[0], estimators, jax.device_get(theta), plan)


def _of_one_task(config: RunConfig, label: str | None) -> RunConfig:
    """The config with the task that is looked at alone."""
    if label is None and (len(config.tasks) == 1 or config.system.name != "lopt"):
        return config
    if label is None:
        known = ", ".join(config.tasks)
        raise errors.UserError(
            f"config.tasks has {len(config.tasks)} tasks, and a diagnosis is of one: name it by "
            f"--task=LABEL, one of {known}"
        )
    if label not in config.tasks:
        raise errors.unknown("--task", label, config.tasks)
    return dataclasses.replace(config, tasks={label: config.tasks[label]}, systems_per_step=None)


def _estimators(
    config: RunConfig, own: meta_train.GradientEstimator, names: Sequence[str]
) -> dict[str, meta_train.GradientEstimator]:
    """By name: the config's own, then others with its horizon, K, number of pairs and std."""
    std = getattr(own, "std", None)
    group_std = dict(std) if isinstance(std, tuple) else None
    made = {config.estimator.name: own}
    for name in names:
        if name not in meta_train.ESTIMATORS:
            raise errors.unknown("estimator in --estimators", name, meta_train.ESTIMATORS)
        if name not in made:
            section = dataclasses.replace(config.estimator, name=name, fields={})
            made[name], _ = build.make_estimator(section, group_std)
    return made


def _theta_of(given: str, like: Any) -> Any:
    """The newest theta of a run, or that of a bundle."""
    folder = bundles.locate(given)
    if Store(folder / run_folder.CHECKPOINTS).numbers():
        theta = bundles.find(folder, None).theta
    else:
        theta = bundles.load(given)[1].theta
    if not same_shapes(like, theta):
        raise errors.UserError(
            f"--theta={given} holds a theta of other shapes than that of the config's "
            "system; give the config of that run, WORKDIR/config.json"
        )
    return theta
