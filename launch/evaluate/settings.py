"""What training runs are made of: the tasks of an evaluation, and what the axes make of them."""

from collections.abc import Mapping
from typing import Any, NamedTuple

import jax

from launch import build, errors
from launch.construct import plain
from tasks import Task

META_TRAINING, VALIDATION, HELD_OUT = SETS = ("meta_training", "validation", "held_out")
"""Every task is in one of three sets: learned optimizers are meta-trained on the first; rules,
settings and checkpoints are chosen on the second; the third only judges."""


class Setting(NamedTuple):
    """One task, or one change of it."""

    label: str
    axis: str
    """Name of the change, such as "width x4"; "" for the task itself."""
    name: str
    """In the registry of tasks."""
    fields: dict[str, Any]
    set: str
    """One of ``SETS``."""
    num_steps: int
    declared_num_steps: int
    """What learned optimizers are told that ``num_steps`` is."""
    task: Task
    num_params: int

    @property
    def held_out(self) -> bool:
        """Whether it is in the set that enters the aggregate."""
        return self.set == HELD_OUT

    @property
    def title(self) -> str:
        """Label and axis, for people."""
        return f"{self.label}, {self.axis}" if self.axis else self.label


def make_settings(fields: Mapping[str, Any]) -> list[list[Setting]]:
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
    return [
        [
            _make(fields, label, "", {}),
            *(
                _make(fields, label, axis, axes[axis][label])
                for axis in axes
                if label in axes[axis]
            ),
        ]
        for label in entries
    ]


def _make(fields: Mapping[str, Any], label: str, axis: str, changes: Mapping[str, Any]) -> Setting:
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
    task = build.make_task(name, dict(changed), where, fields["data_dir"])
    return Setting(
        label,
        axis,
        name,
        plain(changed),
        set_,
        num_steps,
        num_steps if declared is None else _whole(declared, f"{where}.declared_num_steps"),
        task,
        _num_params(task),
    )


def _whole(value: Any, where: str) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise errors.UserError(
            f"config.{where} = {value!r} must be a whole number of inner steps, at least 1"
        )
    return value


def _num_params(task: Task) -> int:
    def init(key: jax.Array) -> Any:
        return task.init(key, task.sample(key))

    return sum(leaf.size for leaf in jax.tree.leaves(jax.eval_shape(init, jax.random.key(0))))
