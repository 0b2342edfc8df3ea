"""From a config to the objects of a run; the one place where names meet the registries."""

import math
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import optax

import meta_train
import tasks as task_package
from launch import devices, errors, user_code
from launch.configuration import Config, look_up
from launch.construct import check_fields, construct, parameters, plain
from launch.meta_optimizer import make_meta_optimizer
from lopt import LOPTS, LearnedOptimizer
from meta_train.evaluation import BASELINES
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


def build(config: Config) -> Experiment:
    """Build everything that ``config`` names.

    Raises:
        UserError: an unknown name or field, a value out of range or of a wrong type, or data that
            are not there. The message names the config field.
    """
    user_code.import_all(config.imports)
    check_numbers(config)
    fields = plain(config.to_dict())
    optimizer, tasks, weights, judges, valid_weights = None, {}, (1.0,), (), ()
    if fields["system"]["name"] == "lopt":
        optimizer = make_named(LOPTS, "optimizer", fields["optimizer"])
        tasks, weights = make_tasks(fields["tasks"], "tasks", fields["data_dir"])
        if not tasks:
            raise errors.UserError("config.tasks is empty; name a task: --config.tasks=digits_mlp")
        systems = _lopt_systems(optimizer, tasks, fields["objective"])
        validated, valid_weights = make_tasks(
            fields["meta_validation"]["tasks"], "meta_validation.tasks", fields["data_dir"]
        )
        judges = _lopt_systems(optimizer, validated, fields["objective"])
    else:
        systems = (make_named(meta_train.SYSTEMS, "system", fields["system"]),)
    _fit_groups(systems[0], fields)
    estimator, episodes = _make_estimator(fields["estimator"])
    meta_optimizer = make_meta_optimizer(fields["meta_optimizer"], fields["meta_steps"])
    _check_endless(config, episodes)
    held_out, _ = make_tasks(
        fields["comparison"]["held_out"], "comparison.held_out", fields["data_dir"]
    )
    _check_apart(fields)
    trainer = _make_trainer(systems, weights, estimator, meta_optimizer, fields)
    validation = Judges(systems, trainer.shares)
    if judges:
        total = sum(valid_weights)
        validation = Judges(judges, tuple(weight / total for weight in valid_weights))
    return Experiment(optimizer, tasks, held_out, systems, episodes, trainer, validation)


def _fit_groups(system: meta_train.UnrolledSystem, fields: Mapping[str, Any]) -> None:
    """Leave out numbers for groups of another theta, such as those of a packaged config's."""
    theta = jax.eval_shape(system.init_theta, jax.random.key(0))
    groups = sorted(theta) if isinstance(theta, Mapping) else []
    for section, name in (("estimator", "group_std"), ("meta_optimizer", "group_factors")):
        given = fields[section].get(name)
        if not isinstance(given, Mapping) or sorted(given) == groups:
            continue
        what = f"config.{section}.{name} is for {', '.join(sorted(given)) or 'no group'}"
        known = f"theta's top-level groups are {', '.join(groups) or 'none'}"
        fitting = {group: given[group] for group in groups if group in given}
        if fitting and len(fitting) < len(groups):
            raise errors.UserError(f"{what}, but {known}; give one number for each, or None")
        print(f"{what}, of which {', '.join(fitting) or 'nothing'} is used: {known}")
        fields[section][name] = fitting or None


def _check_apart(fields: Mapping[str, Any]) -> None:
    """Refuse tasks that are trained on where others are to choose or to judge."""
    trained = {identity(entry["name"], entry): label for label, entry in fields["tasks"].items()}
    for section, name in (("meta_validation", "tasks"), ("comparison", "held_out")):
        for label, entry in fields[section][name].items():
            if (same := trained.get(identity(entry["name"], entry))) is not None:
                raise errors.UserError(
                    f"config.{section}.{name}.{label} is the same task as config.tasks.{same}, "
                    "which is trained on; change its fields or leave it out"
                )


def _check_endless(config: Config, episodes: meta_train.Horizon) -> None:
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


def check_numbers(config: Config) -> None:
    """Raise ``UserError`` for counts of the run that make no sense."""
    limits = {
        "seed": 0,
        "meta_steps": 1,
        "steps_per_dispatch": 1,
        "log_every_steps": 1,
        "bad_steps.max_in_a_row": 1,
        "checkpoint.every_steps": 0,
        "checkpoint.keep_latest": 1,
        "meta_validation.every_steps": 0,
        "meta_validation.num_seeds": 1,
    }
    check_limits(config, limits)
    if config.comparison.num_seeds < 2 and config.comparison.num_seeds != 0:
        raise errors.UserError(
            f"config.comparison.num_seeds = {config.comparison.num_seeds} must be at least 2, or 0 "
            "for no comparison"
        )
    baselines = config.comparison.baselines
    if not baselines:
        raise errors.UserError(
            "config.comparison.baselines is empty; name some of `lopt list baselines`, or set "
            "config.comparison.num_seeds = 0 for no comparison"
        )
    for name in baselines:
        if not isinstance(name, str) or name not in BASELINES:
            raise errors.unknown("config.comparison.baselines", name, BASELINES)
    if config.init_from is not None and not isinstance(config.init_from, str):
        raise errors.UserError(
            f"config.init_from = {config.init_from!r} must be a bundle's path or name, the path "
            "of a work folder, or None"
        )
    if config.objective.unit not in (None, "first_theta"):
        raise errors.UserError(
            f"config.objective.unit = {config.objective.unit!r} must be 'first_theta' or None"
        )
    steps = config.comparison.num_steps
    if steps is not None and (not isinstance(steps, int) or steps < 1):
        raise errors.UserError(
            f"config.comparison.num_steps = {steps!r} must be a whole number of inner steps, at "
            "least 1, or None for the horizon"
        )


def make_named(
    registry: Mapping[str, Callable[..., Any]], where: str, section: Mapping[str, Any]
) -> Any:
    """The thing that ``section["name"]`` names, with the section's other fields."""
    fields = dict(section)
    name = fields.pop("name")
    return construct(_look_up(registry, where, name), fields, where, name)


def check_limits(config: Config, limits: Mapping[str, int]) -> None:
    """Raise ``UserError`` where a number is below its least value, given by path."""
    for path, least in limits.items():
        value = look_up(config, path)
        if value < least:
            raise errors.UserError(f"config.{path} = {value} must be at least {least}")


def _look_up(
    registry: Mapping[str, Callable[..., Any]], where: str, name: object
) -> Callable[..., Any]:
    if not isinstance(name, str) or name not in registry:
        raise errors.unknown(f"config.{where}.name", name, registry)
    return registry[name]


def _make_estimator(
    section: Mapping[str, Any],
) -> tuple[meta_train.GradientEstimator, meta_train.Horizon]:
    fields = dict(section)
    name = fields.pop("name")
    estimator = _look_up(meta_train.ESTIMATORS, "estimator", name)
    try:
        horizon = meta_train.make_horizon(fields["horizon"])
    except (TypeError, ValueError) as error:
        raise errors.UserError(f"config.estimator.horizon: {error}") from error
    # The base config holds the sizes that most estimators have; one without std, say, leaves it.
    if (group_std := fields.pop("group_std")) is not None:
        fields["std"] = _group_std(group_std)
    common = ("horizon", "truncation_length", "mean_over", "num_pairs", "std")
    taken = parameters(estimator)
    fields = {key: value for key, value in fields.items() if key in taken or key not in common}
    fields["horizon"] = horizon
    return construct(estimator, fields, "estimator", name), horizon


def _group_std(value: Any) -> dict[str, float]:
    numbers = value.values() if isinstance(value, Mapping) else [None]
    if any(isinstance(x, bool) or not isinstance(x, int | float) for x in numbers):
        raise errors.UserError(
            f"config.estimator.group_std = {value!r} must be a dict of numbers, such as "
            "{'scalars': 0.02, 'network': 0.01}, or None"
        )
    return {group: float(std) for group, std in value.items()}


def make_tasks(
    section: Mapping[str, Mapping[str, Any]], where: str, data_dir: str | None
) -> tuple[dict[str, task_package.Task], tuple[float, ...]]:
    """Tasks by label, and their weights in the same order.

    Raises:
        UserError: as for ``make_task``, or a weight that is not above 0.
    """
    tasks: dict[str, task_package.Task] = {}
    weights: list[float] = []
    for label, entry in section.items():
        fields = dict(entry)
        name, weight = fields.pop("name"), fields.pop("weight")
        if isinstance(weight, bool) or not isinstance(weight, int | float) or not weight > 0:
            raise errors.UserError(f"config.{where}.{label}.weight = {weight!r} must be above 0")
        tasks[label] = make_task(name, fields, f"{where}.{label}", data_dir)
        weights.append(float(weight))
    return tasks, tuple(weights)


def make_task(
    name: str, fields: dict[str, Any], where: str, data_dir: str | None
) -> task_package.Task:
    """The task of the registry with these fields.

    Raises:
        UserError: an unknown name or field, a value out of range, or data that are not there.
    """
    check_fields(_look_up(task_package.TASKS, where, name), fields, where, name)
    try:
        return task_package.make(name, **{"data_dir": data_dir, **fields})
    except task_package.MissingData as error:
        raise errors.UserError(str(error)) from error
    except ValueError as error:
        raise errors.UserError(f"config.{where} ({name}): {error}") from error


def _lopt_systems(
    optimizer: LearnedOptimizer,
    tasks: Mapping[str, task_package.Task],
    objective_fields: Mapping[str, Any],
) -> tuple[meta_train.LoptSystem, ...]:
    fields = {name: value for name, value in objective_fields.items() if name != "unit"}
    objective = construct(meta_train.MetaObjective, fields, "objective", "the objective")
    return tuple(
        meta_train.LoptSystem(optimizer, task, objective=objective) for task in tasks.values()
    )


def _make_trainer(
    systems: tuple[meta_train.UnrolledSystem, ...],
    weights: tuple[float, ...],
    estimator: meta_train.GradientEstimator,
    meta_optimizer: optax.GradientTransformation,
    fields: Mapping[str, Any],
) -> meta_train.MetaTrainer:
    count = fields["systems_per_step"]
    if count is not None and (isinstance(count, bool) or not isinstance(count, int)):
        raise errors.UserError(
            f"config.systems_per_step = {count!r} must be a whole number of tasks, or None for all"
        )
    execution = {name: fields["devices"][name] for name in ("particles", "block_size")}
    execution = construct(meta_train.Execution, execution, "devices", "the execution")
    try:
        return meta_train.MetaTrainer(
            systems,
            estimator,
            meta_optimizer,
            weights=weights,
            steps_per_dispatch=fields["steps_per_dispatch"],
            devices=devices.choose(fields["devices"], estimator.num_groups),
            max_grad_norm=_limit(fields["bad_steps"]["max_grad_norm"], "bad_steps.max_grad_norm"),
            system_clip_norm=_limit(fields["system_clip_norm"], "system_clip_norm"),
            systems_per_step=count,
            execution=execution,
        )
    except ValueError as error:
        raise errors.UserError(f"config: {error}") from error


def _limit(value: Any, where: str) -> float:
    if value is None:
        return math.inf
    if isinstance(value, bool) or not isinstance(value, int | float) or not value > 0:
        raise errors.UserError(f"config.{where} = {value!r} must be a number above 0, or None")
    return float(value)
