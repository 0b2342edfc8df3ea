"""From a config to the objects of a run; the one place where names meet the registries."""

import dataclasses
import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import optax

import meta_train
import tasks as task_package
from configs import Named
from configs.base import Devices as DevicesSection
from configs.base import Estimator, Objective, RunConfig, TaskEntry
from configs.held_out import EvaluationConfig
from launch import errors, user_code
from launch.construct import check_fields, construct, parameters
from launch.meta_optimizer import make_meta_optimizer
from lopt import LOPTS, LearnedOptimizer
from meta_train.capacity import free_bytes
from meta_train.evaluation import BASELINES
from meta_train.parallel import Devices
from meta_train.run.writer import WRITERS, Writer, find_writer
from tasks.registry import identity


class Judges(NamedTuple):
    """Systems on which theta is validated, and their weights, which sum to 1."""

    systems: tuple[meta_train.UnrolledSystem, ...]
    shares: tuple[float, ...]
    geometric: bool = False
    """Whether the mean over systems is, see ``meta_validate``."""


class Experiment(NamedTuple):
    """Everything that a run needs, built and checked."""

    optimizer: LearnedOptimizer | None
    """What is meta-trained; None where the system is not the training of tasks."""
    tasks: dict[str, task_package.Task]
    """Tasks trained on, by label."""
    held_out: dict[str, task_package.Task]
    """Tasks of the comparison that are not trained on."""
    systems: tuple[meta_train.UnrolledSystem, ...]
    episodes: meta_train.Horizon
    """The distribution of the episode length T."""
    trainer: meta_train.MetaTrainer
    validation: Judges


def build(config: RunConfig) -> Experiment:
    """Build everything that ``config`` names.

    Raises:
        UserError: an unknown name or field, a value that the named thing cannot have, or data that
            are not there. The message names the config field.
    """
    user_code.import_all(config.imports)
    for name in config.comparison.baselines:
        if name not in BASELINES:
            raise errors.unknown("config.comparison.baselines", name, BASELINES)
    optimizer, tasks, weights, judges, valid_weights = None, {}, (1.0,), (), ()
    if config.system.name == "lopt":
        optimizer = make_named(LOPTS, "optimizer", config.optimizer)
        tasks, weights = make_tasks(config.tasks, "tasks", config)
        if not tasks:
            raise errors.UserError("config.tasks is empty; name a task: --config.tasks=digits_mlp")
        systems = _lopt_systems(optimizer, tasks, config.objective)
        entries = config.meta_validation.tasks
        validated, valid_weights = make_tasks(entries, "meta_validation.tasks", config)
        judges = _lopt_systems(optimizer, validated, config.objective)
    else:
        systems = (_make_system(config),)
    groups = _groups(systems[0])
    group_std = _fit_groups(config.estimator.group_std, "estimator.group_std", groups)
    estimator, episodes = make_estimator(config.estimator, group_std)
    factors = config.meta_optimizer.group_factors
    factors = _fit_groups(factors, "meta_optimizer.group_factors", groups)
    section = dataclasses.replace(config.meta_optimizer, group_factors=factors)
    meta_optimizer = make_meta_optimizer(section, config.meta_steps)
    _check_endless(config, episodes)
    held_out, _ = make_tasks(config.comparison.held_out, "comparison.held_out", config)
    _check_apart(config)
    trainer = _make_trainer(systems, weights, estimator, meta_optimizer, config)
    validation = Judges(systems, trainer.shares)
    if judges:
        total = sum(valid_weights)
        validation = Judges(judges, tuple(weight / total for weight in valid_weights))
    return Experiment(optimizer, tasks, held_out, systems, episodes, trainer, validation)


def find_writers(names: Sequence[str]) -> list[Callable[[Path], Writer]]:
    """What makes the writers of ``config.writers``.

    Raises:
        UserError: an unknown name.
        ModuleNotFoundError: what it writes with is not installed.
    """
    for name in names:
        if name not in WRITERS:
            raise errors.unknown("config.writers", name, WRITERS)
    return [find_writer(name) for name in dict.fromkeys(names)]


def _groups(system: meta_train.UnrolledSystem) -> list[str]:
    """Theta's top-level groups."""
    theta = jax.eval_shape(system.init_theta, jax.random.key(0))
    return sorted(theta) if isinstance(theta, Mapping) else []


def _fit_groups(
    given: Mapping[str, float] | None, where: str, groups: list[str]
) -> dict[str, float] | None:
    """Leave out numbers for groups of another theta, such as those of a packaged config's."""
    if given is None or sorted(given) == groups:
        return None if given is None else dict(given)
    what = f"config.{where} is for {', '.join(sorted(given)) or 'no group'}"
    known = f"theta's top-level groups are {', '.join(groups) or 'none'}"
    fitting = {group: given[group] for group in groups if group in given}
    if fitting and len(fitting) < len(groups):
        raise errors.UserError(f"{what}, but {known}; give one number for each, or None")
    print(f"{what}, of which {', '.join(fitting) or 'nothing'} is used: {known}")
    return fitting or None


def _check_apart(config: RunConfig) -> None:
    """Refuse tasks that are trained on where others are to choose or to judge."""
    trained = {identity(entry.name, entry.fields): label for label, entry in config.tasks.items()}
    sections = {
        "meta_validation.tasks": config.meta_validation.tasks,
        "comparison.held_out": config.comparison.held_out,
    }
    for where, entries in sections.items():
        for label, entry in entries.items():
            if (same := trained.get(identity(entry.name, entry.fields))) is not None:
                raise errors.UserError(
                    f"config.{where}.{label} is the same task as config.tasks.{same}, which is "
                    "trained on; change its fields or leave it out"
                )


def _check_endless(config: RunConfig, episodes: meta_train.Horizon) -> None:
    if episodes.max != meta_train.ENDLESS:
        return
    if config.system.name == "lopt":
        raise errors.UserError(
            "config.estimator.horizon = None: the training of a task ends; give T, or another "
            "config.system.name"
        )
    if config.meta_validation.every_steps:
        raise errors.UserError(
            "config.meta_validation runs whole episodes, but with config.estimator.horizon = None "
            "they never end; set config.meta_validation.every_steps=0"
        )


def _make_system(config: RunConfig) -> meta_train.UnrolledSystem:
    """The system of ``config.system``; one with data looks for them where tasks do."""
    name, fields = config.system.name, config.system.fields
    factory = _look_up(meta_train.SYSTEMS, "system", name)
    common = {"data_dir": config.data_dir} if "data_dir" in parameters(factory) else {}
    limit = task_package.data_limit(config.data_limit_mb, free_bytes())
    with limit, errors.mistakes("", task_package.MissingData):
        return construct(factory, {**common, **fields}, "system", name)


def make_named(registry: Mapping[str, Callable[..., Any]], where: str, section: Named) -> Any:
    """The thing that a section names, with the section's own fields."""
    factory = _look_up(registry, where, section.name)
    return construct(factory, section.fields, where, section.name)


def _look_up(
    registry: Mapping[str, Callable[..., Any]], where: str, name: str
) -> Callable[..., Any]:
    if name not in registry:
        raise errors.unknown(f"config.{where}.name", name, registry)
    return registry[name]


def make_estimator(
    section: Estimator, group_std: dict[str, float] | None
) -> tuple[meta_train.GradientEstimator, meta_train.Horizon]:
    """The estimator that a section names, and its horizon; ``group_std`` is for ``std``.

    Raises:
        UserError: an unknown name or field, or a value out of range.
    """
    factory = _look_up(meta_train.ESTIMATORS, "estimator", section.name)
    with errors.mistakes("config.estimator.horizon: ", TypeError, ValueError):
        horizon = meta_train.make_horizon(section.horizon)
    common = {
        "horizon": horizon,
        "truncation_length": section.truncation_length,
        "mean_over": section.mean_over,
        "num_pairs": section.num_pairs,
        "std": section.std if group_std is None else group_std,
    }
    # Most estimators have these fields; one without std, say, leaves it.
    taken = parameters(factory)
    fields = {name: value for name, value in common.items() if name in taken}
    made = construct(factory, {**fields, **section.fields}, "estimator", section.name)
    return made, horizon


def make_tasks(
    entries: Mapping[str, TaskEntry], where: str, config: RunConfig
) -> tuple[dict[str, task_package.Task], tuple[float, ...]]:
    """Tasks by label, and their weights in the same order.

    Raises:
        UserError: as for ``make_task``.
    """
    tasks = {
        label: make_task(entry.name, entry.fields, f"{where}.{label}", config)
        for label, entry in entries.items()
    }
    return tasks, tuple(entry.weight for entry in entries.values())


def make_task(
    name: str, fields: Mapping[str, Any], where: str, config: RunConfig | EvaluationConfig
) -> task_package.Task:
    """The task of the registry with these fields.

    Raises:
        UserError: an unknown name or field, a value out of range, or data that are not there.
    """
    check_fields(_look_up(task_package.TASKS, where, name), fields, where, name)
    with (
        task_package.data_limit(config.data_limit_mb, free_bytes()),
        errors.mistakes("", task_package.MissingData),
        errors.mistakes(f"config.{where} ({name}): "),
    ):
        return task_package.make(name, **{"data_dir": config.data_dir, **fields})


def _lopt_systems(
    optimizer: LearnedOptimizer, tasks: Mapping[str, task_package.Task], section: Objective
) -> tuple[meta_train.LoptSystem, ...]:
    fields = {name: value for name, value in section.to_dict().items() if name != "unit"}
    objective = construct(meta_train.MetaObjective, fields, "objective", "the objective")
    if objective.measure == "error":
        _check_accuracy(tasks)
    return tuple(
        meta_train.LoptSystem(optimizer, task, objective=objective) for task in tasks.values()
    )


def _check_accuracy(tasks: Mapping[str, task_package.Task]) -> None:
    """Refuse tasks without the metric that ``config.objective.measure = "error"`` is of."""

    def metrics(task: task_package.Task, key: jax.Array) -> dict[str, jax.Array]:
        cfg = task.sample(key)
        return task.loss(key, cfg, task.init(key, cfg), task.batch(key, cfg, "train"))[1]

    for label, task in tasks.items():
        if "accuracy" not in jax.eval_shape(metrics, task, jax.random.key(0)):
            raise errors.UserError(
                f"config.objective.measure = 'error' needs tasks with an accuracy; {label} has "
                "none, so set config.objective.measure=loss or train another task"
            )


def _make_trainer(
    systems: tuple[meta_train.UnrolledSystem, ...],
    weights: tuple[float, ...],
    estimator: meta_train.GradientEstimator,
    meta_optimizer: optax.GradientTransformation,
    config: RunConfig,
) -> meta_train.MetaTrainer:
    on = config.devices
    execution = {key: getattr(on, key) for key in ("particles", "block_size", "update_kernel")}
    execution = construct(meta_train.Execution, execution, "devices", "the execution")
    grad_norm, system_norm = config.bad_steps.max_grad_norm, config.system_clip_norm
    with errors.mistakes("config: "):
        return meta_train.MetaTrainer(
            systems,
            estimator,
            meta_optimizer,
            weights=weights,
            steps_per_dispatch=config.steps_per_dispatch,
            devices=_devices(on, estimator.num_groups),
            max_grad_norm=math.inf if grad_norm is None else grad_norm,
            system_clip_norm=math.inf if system_norm is None else system_norm,
            systems_per_step=config.systems_per_step,
            execution=execution,
        )


def _devices(section: DevicesSection, num_groups: int) -> Devices:
    """The devices of a run.

    Args:
        section: ``config.devices``; where ``count`` is None, as many as divide the groups evenly.
        num_groups: groups of particles of the estimator.

    Raises:
        UserError: more devices than there are, or a number that does not divide the groups.
    """
    count, backend = section.count, section.backend
    try:
        if count is None:
            return Devices(jax.device_count(), backend).fitting(num_groups)
        devices = Devices(count, backend)
        suggestion = devices.fitting(num_groups).count
    except ValueError as error:
        raise errors.UserError(
            f"config.devices: {error} The groups are those of config.estimator.num_pairs"
        ) from error
    if num_groups % count:
        raise errors.UserError(
            f"config.devices.count = {count} does not divide the {num_groups} groups of particles "
            f"of the estimator evenly; {suggestion} would, or choose config.estimator.num_pairs as "
            "a multiple of it"
        )
    return devices
