"""What the config of an evaluation asks for: its plan, optimizers, suite and devices."""

import dataclasses
import itertools
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import jax

from configs import Named
from configs.held_out import EvaluationConfig, SuiteTask
from launch import build, bundles, errors
from launch.construct import check_fields
from launch.conversion import fill, plain
from meta_train.evaluation import Budget, Optimizer, Plan, Workload, default_devices
from meta_train.evaluation import baseline as make_baseline
from meta_train.evaluation.baselines import LEARNING_RATE, known
from meta_train.evaluation.calibration import read_settings
from meta_train.evaluation.judge import CRITERIA
from meta_train.evaluation.optimizers import learned, with_tuned_multiplier
from meta_train.evaluation.task_sets import misnamed
from meta_train.evaluation.workload import HELD_OUT, META_TRAINING, SETS, VALIDATION

SHIPPED = Path(__file__).resolve().parent / "shipped"
"""Tuned hyperparameters, and calibrated settings, that come with the package."""
CALIBRATED = "calibrated.json"
_USES = {VALIDATION: "was chosen by it", META_TRAINING: "was meta-trained on it"}
_WORDS = {HELD_OUT: "held out", VALIDATION: "a validation task"}


def make_plan(config: EvaluationConfig) -> Plan:
    """How to judge.

    Raises:
        UserError: an unknown criterion, or a reference that is none of the baselines.
    """
    tuning, names, labels = config.tuning, config.reference, config.baselines
    if tuning.criterion not in CRITERIA:
        raise errors.unknown("config.tuning.criterion", tuning.criterion, CRITERIA)
    if names and not set(names) & set(labels):
        raise errors.UserError(
            f"config.reference = {names!r} names none of config.baselines ({', '.join(labels)}); "
            "name some of them, or () for no target"
        )
    return Plan(
        num_seeds=config.num_seeds,
        num_points=config.num_points,
        valid_batches=config.valid_batches,
        budget=Budget(tuning.num_grid, tuning.num_random),
        criterion=tuning.criterion,
        on_axes=tuning.on_axes,
        reference=names,
        seed=config.seed,
    )


def make_devices(workers: int | None) -> list[Any]:
    """A device for each of the trainings at a time.

    Raises:
        UserError: there are not so many.
    """
    devices = default_devices()
    if workers is None:
        return devices
    if jax.default_backend() == "cpu":
        return devices[:1] * workers
    if workers > len(devices):
        raise errors.UserError(f"config.workers = {workers}, but there are {len(devices)} devices")
    return devices[:workers]


def load_bundles(
    paths: Sequence[str], taken: Iterable[str] = (), multiplier: bool = False
) -> list[Optimizer]:
    """Load bundles, or the bundles in work folders; each gets the name of its folder.

    Args:
        paths: folders, or names of shipped bundles.
        taken: names that are not free any more; one that is taken gets a number.
        multiplier: whether each is followed by itself with a tuned learning-rate multiplier.

    Raises:
        UserError: one that is not there, or is damaged.
    """
    found: list[Optimizer] = []
    names = set(taken)
    for given in paths:
        folder, bundle = bundles.load(given)
        path = folder.resolve()
        name = path.parent.name if path.name == bundles.BUNDLE else path.name
        numbered = (f"{name}_{number}" for number in itertools.count(2))
        free = next(one for one in itertools.chain([name], numbered) if one not in names)
        names.add(free)
        one = learned(bundle, free, path)
        found += [one, with_tuned_multiplier(one)] if multiplier else [one]
    return found


def make_baselines(entries: Mapping[str, Named]) -> list[Optimizer]:
    """The baselines of ``config.baselines``.

    Raises:
        UserError: an optimizer or an argument that does not exist.
    """
    of_all = known()
    return [_baseline(label, entry, of_all) for label, entry in entries.items()]


def _baseline(label: str, entry: Named, of_all: Mapping[str, Any]) -> Optimizer:
    where, name, fields = f"baselines.{label}", entry.name, dict(entry.fields)
    source = fields.pop("calibrated", False)
    if name not in of_all:
        raise errors.unknown(f"config.{where}.name", name, of_all)
    if source is not False:
        if fields:
            raise errors.UserError(
                f"config.{where}: {', '.join(fields)} is given besides calibrated, which is a "
                "whole setting; leave out one or the other"
            )
        fields = _calibrated(name, source, where)
    check_fields(of_all[name].factory, {LEARNING_RATE: 0.1, **fields}, where, name)
    found = make_baseline(of_all[name], label, **fields)
    with errors.mistakes(f"config.{where} ({name}): ", TypeError, ValueError):
        found.check()
    described = f"{found.description}; calibrated" if source else found.description
    return dataclasses.replace(found, description=described)


def _calibrated(name: str, source: object, where: str) -> dict[str, float]:
    """The setting of a baseline in calibrated.json.

    Args:
        name: of the baseline.
        source: True for the file that comes with the package, else its path or its folder's.
        where: section of the config, for messages.
    """
    if source is not True and not isinstance(source, str):
        raise errors.UserError(
            f"config.{where}.calibrated = {source!r} must be True for the setting that comes with "
            "the package, or the path of a calibrated.json or of its folder"
        )
    path = SHIPPED if source is True else Path(source).expanduser()
    path = path / CALIBRATED if path.is_dir() else path
    with errors.mistakes(f"config.{where}.calibrated: "):
        settings = read_settings(path)
    if name not in settings:
        raise errors.UserError(
            f"config.{where}.calibrated: {path.name} has no {name} (it has {', '.join(settings)}); "
            f"find its setting: lopt calibrate --config=general --baselines={name} "
            "--workdir=DIR, then calibrated='DIR'"
        )
    return settings[name]


def make_suite(config: EvaluationConfig) -> list[Workload]:
    """Build every task, followed by its changes.

    Raises:
        UserError: an unknown name or field, a value out of range, or data that are not there.
    """
    if not config.tasks:
        raise errors.UserError("config.tasks is empty; name a task: --config.tasks=digits_conv")
    for axis, changes in config.axes.items():
        for label in changes:
            if label not in config.tasks:
                raise errors.unknown(f"task of config.axes.{axis}", label, config.tasks)
    suite = []
    for label, task in config.tasks.items():
        suite.append(_workload(config, label, task, f"tasks.{label}"))
        for axis, changes in config.axes.items():
            if label in changes:
                where = f"axes.{axis}.{label}"
                changed = fill(task, changes[label], where)
                suite.append(_workload(config, label, changed, where, axis))
    return suite


def _workload(
    config: EvaluationConfig, label: str, task: SuiteTask, where: str, axis: str = ""
) -> Workload:
    if "held_out" in task.fields:
        raise errors.UserError(
            f"config.{where}.held_out is now called set, one of {', '.join(SETS)}: "
            f"--config.tasks.{label}.set={META_TRAINING}"
        )
    if task.set not in SETS:
        raise errors.unknown(f"config.{where}.set", task.set, SETS)
    num_steps = task.num_steps or config.num_steps
    if num_steps % config.num_points:
        raise errors.UserError(
            f"config.{where}: {num_steps} inner steps are no multiple of config.num_points = "
            f"{config.num_points}, the points to record"
        )
    return Workload(
        label,
        build.make_task(task.name, task.fields, where, config),
        num_steps,
        axis,
        task.set,
        task.declared_num_steps,
        task.name,
        plain(task.fields),
    )


def check_sets(suite: Iterable[Workload], optimizers: Iterable[Optimizer]) -> None:
    """Raise ``UserError`` for a task that is called purer than it is to an optimizer."""
    for workload, optimizer, listed in misnamed(suite, optimizers):
        raise errors.UserError(
            f"{workload.title} is not {_WORDS[workload.set]}: {optimizer.name} "
            f"{_USES[listed.set]}, as {listed.label}; change its fields, leave it out, or name its "
            f"set: --config.tasks.{workload.label}.set={listed.set}"
        )
