"""A run of meta-training as an object, and the hooks that record, judge, save and show it.

What writes files or draws is imported from its own module: ``meta_train.run.records``,
``meta_train.run.events``, ``meta_train.run.progress``.
"""

from meta_train.run.hooks import BadSteps, Checkpointing, Profile, Validation
from meta_train.run.run import Hook, Run
from meta_train.run.start import RunFailed, RunState, Start, load_theta

__all__ = [
    "BadSteps",
    "Checkpointing",
    "Hook",
    "Profile",
    "Run",
    "RunFailed",
    "RunState",
    "Start",
    "Validation",
    "load_theta",
]
