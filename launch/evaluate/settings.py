"""What training runs are made of: the tasks of an evaluation, and what the axes make of them."""

from collections.abc import Mapping
from typing import Any, NamedTuple

import jax

from launch import build, errors
from launch.construct import plain
from tasks import Task


class Setting(NamedTuple):
    """One task, or one change of it."""

    label: str
    axis: str
    """Name of the change, such as "width x4"; "" for the task itself."""
    name: str
    """In the registry of tasks."""
    fields: dict[str, Any]
    held_out: bool
    """False where the config says that an optimizer may have been meta-trained on it."""
    num_steps: int
    task: Task
    num_params: int

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
    changed = {"num_steps": fields["num_steps"], **fields["tasks"][label], **changes}
    name, held_out = changed.pop("name"), changed.pop("held_out")
    num_steps = changed.pop("num_steps")
    if not isinstance(held_out, bool):
        raise errors.UserError(f"config.{where}.held_out = {held_out!r} must be True or False")
    if isinstance(num_steps, bool) or not isinstance(num_steps, int):
        raise errors.UserError(f"config.{where}.num_steps = {num_steps!r} must be a whole number")
    if num_steps < 1 or num_steps % fields["num_points"]:
        raise errors.UserError(
            f"config.{where}: {num_steps} inner steps are no multiple of config.num_points = "
            f"{fields['num_points']}, the points to record"
        )
    task = build.make_task(name, dict(changed), where, fields["data_dir"])
    return Setting(label, axis, name, plain(changed), held_out, num_steps, task, _num_params(task))


def _num_params(task: Task) -> int:
    def init(key: jax.Array) -> Any:
        return task.init(key, task.sample(key))

    return sum(leaf.size for leaf in jax.tree.leaves(jax.eval_shape(init, jax.random.key(0))))
