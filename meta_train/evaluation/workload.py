"""What a suite is made of, as it is run and as it is on record: a task, or a change of one."""

import dataclasses
import functools
import json
from collections.abc import Mapping
from typing import Any, NamedTuple

import jax

from tasks.base import Task

META_TRAINING, VALIDATION, HELD_OUT = SETS = ("meta_training", "validation", "held_out")
"""Every task is in one of three sets: learned optimizers are meta-trained on the first; rules,
settings and checkpoints are chosen on the second; the third only judges."""


@dataclasses.dataclass(frozen=True, eq=False)
class Workload:
    """A task with a number of inner steps.

    Attributes:
        label: the name of the task; its changes have the same label.
        task: the task that is trained.
        num_steps: inner steps T of every training run.
        axis: the change of the task, such as "width x4"; "" for the task itself.
        set: one of ``SETS``. Only held-out tasks enter aggregates.
        declared_num_steps: the T that learned optimizers are told; None for the true one.
        name: the task's name in the registry, for the record.
        fields: the task's fields, for the record.
    """

    label: str
    task: Task
    num_steps: int = 1000
    axis: str = ""
    set: str = HELD_OUT
    declared_num_steps: int | None = None
    name: str = ""
    fields: Mapping[str, Any] = dataclasses.field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.set not in SETS:
            raise ValueError(f"set = {self.set!r} must be one of {', '.join(SETS)}.")
        for name in ("num_steps", "declared_num_steps"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise ValueError(f"{name} = {value} must be at least 1.")

    @property
    def declared(self) -> int:
        """The number of steps that learned optimizers are told."""
        return self.num_steps if self.declared_num_steps is None else self.declared_num_steps

    @property
    def title(self) -> str:
        """Label and axis, for people."""
        return f"{self.label}, {self.axis}" if self.axis else self.label

    @functools.cached_property
    def num_params(self) -> int:
        """Number of parameters of the task."""

        def init(key: jax.Array) -> Any:
            return self.task.init(key, self.task.sample(key))

        shapes = jax.eval_shape(init, jax.random.key(0))
        return sum(leaf.size for leaf in jax.tree.leaves(shapes))


class Setting(NamedTuple):
    """A workload on record."""

    label: str
    axis: str
    """The change: "horizon x3"; "" for the task itself."""
    set: str
    """"held_out", "validation" or "meta_training"."""
    details: str = ""

    @property
    def held_out(self) -> bool:
        """Whether it is in the set that enters aggregates."""
        return self.set == "held_out"

    @property
    def title(self) -> str:
        """For people: the set is named unless it is held out."""
        words = f"{self.label}, {self.axis}" if self.axis else self.label
        return words if self.held_out else f"{words} ({self.set.replace('_', '-')} task)"

    @classmethod
    def of(cls, row: Mapping[str, Any]) -> "Setting":
        """From a row of ``tasks`` in summary.json, whatever is missing there."""
        fields = row.get("fields") if isinstance(row.get("fields"), dict) else {}
        parts = [str(row.get("name") or "")]
        parts += [f"{name} = {json.dumps(value)}" for name, value in (fields or {}).items()]
        for field, noun in (("num_params", "parameters"), ("num_steps", "inner steps")):
            count = row.get(field)
            parts += [f"{count:,} {noun}"] if isinstance(count, int) else []
        details = ", ".join(part for part in parts if part)
        # Before there were three sets, what was not held out was meta-trained on.
        before = "meta_training" if row.get("held_out") is False else "held_out"
        set_ = str(row.get("set") or before)
        return cls(str(row.get("label")), str(row.get("axis") or ""), set_, details)
