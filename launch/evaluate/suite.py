"""The suite of an evaluation, from its config."""

from collections.abc import Mapping
from typing import Any

from launch import build, errors
from launch.conversion import plain
from meta_train.evaluation.workload import META_TRAINING, SETS, Workload


def make_suite(fields: Mapping[str, Any]) -> list[Workload]:
    """Build every task, followed by its changes.

    Args:
        fields: the complete config as plain data.

    Raises:
        UserError: an unknown name or field, a value out of range, or data that are not there.
    """
    entries, axes = fields["tasks"], fields["axes"]
    if not entries:
        raise errors.UserError("config.tasks is empty; name a task: --config.tasks=digits_conv")
    for axis, changes in axes.items():
        for label in changes:
            if label not in entries:
                raise errors.unknown(f"task of config.axes.{axis}", label, entries)
    suite = []
    for label in entries:
        suite.append(_make(fields, label, "", {}))
        suite += [_make(fields, label, x, axes[x][label]) for x in axes if label in axes[x]]
    return suite


def _make(fields: Mapping[str, Any], label: str, axis: str, changes: Mapping[str, Any]) -> Workload:
    where = f"axes.{axis}.{label}" if axis else f"tasks.{label}"
    changes = dict(changes)
    declared = changes.pop("declared_num_steps", None)
    changed = {"num_steps": fields["num_steps"], **fields["tasks"][label], **changes}
    name, set_ = changed.pop("name"), changed.pop("set")
    num_steps = _whole(changed.pop("num_steps"), f"{where}.num_steps")
    if "held_out" in changed:
        raise errors.UserError(
            f"config.{where}.held_out is now called set, one of {', '.join(SETS)}: "
            f"--config.tasks.{label}.set={META_TRAINING}"
        )
    if set_ not in SETS:
        raise errors.unknown(f"config.{where}.set", set_, SETS)
    if num_steps % fields["num_points"]:
        raise errors.UserError(
            f"config.{where}: {num_steps} inner steps are no multiple of config.num_points = "
            f"{fields['num_points']}, the points to record"
        )
    return Workload(
        label,
        build.make_task(name, dict(changed), where, fields["data_dir"]),
        num_steps,
        axis,
        set_,
        None if declared is None else _whole(declared, f"{where}.declared_num_steps"),
        name,
        plain(changed),
    )


def _whole(value: Any, where: str) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise errors.UserError(
            f"config.{where} = {value!r} must be a whole number of inner steps, at least 1"
        )
    return value
