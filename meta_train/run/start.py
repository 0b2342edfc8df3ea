"""What a checkpoint gives: where a run resumes, its theta, and what it has spent."""

import re
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
from jax.sharding import SingleDeviceSharding

from checkpoints import DamagedError, Step, Store
from meta_train.trainer import MetaTrainer
from meta_train.types import MetaState, Theta

CHECKPOINTS = "checkpoints"
"""Where the folder of a run holds them."""


_AVERAGE = re.compile(r"meta_state/(meta_opt_state/(?:\d+/)*theta)(?:/.*)?")
"""An array of the average that ``groups.average_theta`` keeps, the member of a chain."""


class RunFailed(Exception):
    """A run that cannot continue, or whose state cannot be saved; the message is for its user."""


class RunState(NamedTuple):
    """The arrays of a run, exactly as a checkpoint holds them."""

    meta_state: MetaState
    best_theta: Theta
    """Theta with the lowest validation so far."""


class Start(NamedTuple):
    """Where a run resumes."""

    number: int
    """Meta-steps that are done."""
    state: RunState
    """Without a best theta, None, where the validations so far do not count any more."""
    metadata: Mapping[str, Any]
    own: bool = True
    """Whether the run itself has written it, and not another one."""


def find(store: Store, load: Callable[[Store, Step], RunState], own: bool = True) -> Start | None:
    """The newest whole checkpoint of a store; None where it has none at all.

    Args:
        store: is only read.
        load: takes from a checkpoint what is wanted, see ``load_all``.
        own: whether it is the store of the run itself.

    Raises:
        RunFailed: all checkpoints are damaged.
        checkpoints.MismatchError: the checkpoint is of another run, by its arrays.
    """
    numbers = store.numbers()
    for number in reversed(numbers):
        folder = store.folder / str(number)
        try:
            step = store.read(number)
            state = load(store, step)
        except DamagedError as error:
            print(f"checkpoint {folder} is damaged: {error}", flush=True)
            continue
        print(f"resuming after meta-step {number}, from {folder}", flush=True)
        return Start(number, state, step.metadata, own)
    if numbers:
        raise RunFailed(
            f"all checkpoints in {store.folder} are damaged (`lopt inspect` tells why); nothing "
            "was changed"
        )
    return None


def load_all(store: Store, step: Step, trainer: MetaTrainer) -> RunState:
    """Everything that a checkpoint holds, where ``trainer`` wants it."""
    like = trainer.abstract_state()
    return store.restore(step.number, RunState(like, like.theta))


def load_theta(store: Store, step: Step, like: Theta) -> Theta:
    """Theta of a checkpoint as it is to be used: its average, where the run keeps one.

    Args:
        store: of the run.
        step: the checkpoint, as ``store.read`` gives it.
        like: its shapes, as of ``jax.eval_shape(optimizer.init, key)``.

    Returns:
        Arrays on the host.

    Raises:
        checkpoints.DamagedError: the checkpoint is not what was saved.
        checkpoints.MismatchError: its theta has other arrays than ``like``.
    """
    averages = map(_AVERAGE.fullmatch, step.arrays)
    place = next((found[1] for found in averages if found), "theta")
    here = SingleDeviceSharding(jax.local_devices()[0])
    like = jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=here), like)
    restored = store.restore(step.number, {"meta_state": {place: like}})
    return jax.device_get(restored["meta_state"][place])


def spent(metadata: Mapping[str, Any]) -> dict[str, Any]:
    """What a run had spent when a checkpoint was written, for a model card.

    Args:
        metadata: of the checkpoint, or ``Run.metadata()``; what an older one does not say is None.
    """
    records, devices = metadata["records"], metadata.get("devices")
    return {
        "meta_steps_in_all": metadata.get("meta_steps"),
        "inner_steps_in_all": records.get("inner_steps"),
        "seconds_in_all": records["seconds"],
        "devices": devices and f"{devices['count']} x {devices['kind']}",
        "processes": devices and devices["processes"],
    }
