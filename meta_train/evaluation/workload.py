"""What a suite is made of: a task with a number of inner steps, or a change of one."""

import dataclasses
import functools
from collections.abc import Mapping
from typing import Any

import jax

from tasks.base import Task

META_TRAINING, VALIDATION, HELD_OUT = SETS = ("meta_training", "validation", "held_out")
"""Every task is in one of three sets: learned optimizers are meta-trained on the first; rules,
settings and checkpoints are chosen on the second; the third only judges."""


@dataclasses.dataclass(frozen=True, eq=False)
class Workload:
    """A task with a number of inner steps.

    Attributes:
        label: names the task; its changes have the same label.
        task: what is trained.
        num_steps: inner steps T of every training run.
        axis: what is changed, such as "width x4"; "" for the task itself.
        set: one of ``SETS``. Only held-out tasks enter aggregates.
        declared_num_steps: what learned optimizers are told that T is; None for the truth.
        name: of the task in the registry, for the record.
        fields: of the task, likewise.
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
