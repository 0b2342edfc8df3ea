"""Where a run starts: from its own work folder, from another run's, or afresh."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import jax

from checkpoints import DamagedError, MismatchError, Store
from configs.base import RunConfig
from launch import configuration, differences, errors, workdir
from launch.build import Experiment
from meta_train import MetaState, MetaTrainer


class RunState(NamedTuple):
    """The arrays of a run, as a checkpoint holds them."""

    meta_state: MetaState
    best_theta: Any
    """Theta with the lowest meta-validation so far."""


class Start(NamedTuple):
    """Where a run goes on."""

    number: int
    """Meta-steps that are done."""
    state: RunState
    metadata: Mapping[str, Any]
    own: bool
    """Whether it is from the run's own work folder."""
    same_config: bool


class _Source(NamedTuple):
    folder: Path
    own: bool


def find(
    experiment: Experiment,
    config: RunConfig,
    folder: Path,
    restore_from: str | None,
    allow_config_change: bool,
) -> Start | None:
    """The newest good checkpoint; None where the run starts afresh. Nothing is written.

    Raises:
        UserError: another config than the checkpoint's, or a folder that holds no run.
        RunFailed: there are checkpoints, but all of them are damaged.
    """
    sources = [_Source(folder / workdir.CHECKPOINTS, own=True)]
    if restore_from is not None:
        sources.append(_Source(_checkpoints_of(restore_from), own=False))
    for source in sources:
        store = Store(source.folder)
        if store.numbers():
            return _newest_good(store, source, experiment.trainer, config, allow_config_change)
    if (folder / workdir.METRICS).exists():
        _check_beginning(folder, config)
    return None


def _checkpoints_of(restore_from: str) -> Path:
    given = Path(restore_from).expanduser()
    for folder in (given / workdir.CHECKPOINTS, given):
        if Store(folder).numbers():
            return folder
    raise errors.UserError(f"--restore_from={restore_from} holds no checkpoints of a run")


def _newest_good(
    store: Store,
    source: _Source,
    trainer: MetaTrainer,
    config: RunConfig,
    allow_config_change: bool,
) -> Start:
    for number in reversed(store.numbers()):
        try:
            return _restore(store, number, source, trainer, config, allow_config_change)
        except DamagedError as error:
            print(f"checkpoint {store.folder / str(number)} is damaged: {error}", flush=True)
    raise errors.RunFailed(
        f"all checkpoints in {store.folder} are damaged (`lopt inspect` tells why); nothing was "
        "changed. Use --restore_from with another run, or another --workdir"
    )


def _restore(
    store: Store,
    number: int,
    source: _Source,
    trainer: MetaTrainer,
    config: RunConfig,
    allow_config_change: bool,
) -> Start:
    metadata = store.read(number).metadata
    changed = _compare(metadata, config, number, store.folder, allow_config_change)
    try:
        if changed:
            state = _restore_changed(store, number, trainer, config, changed)
        else:
            state = store.restore(number, _like(trainer))
    except MismatchError as error:
        raise errors.UserError(
            f"checkpoint {store.folder / str(number)} is of another run: {error}"
        ) from error
    print(f"going on after meta-step {number}, from {store.folder / str(number)}", flush=True)
    return Start(number, state, metadata, source.own, not changed)


def _compare(
    metadata: Mapping[str, Any], config: RunConfig, number: int, folder: Path, allowed: bool
) -> dict[str, Any]:
    """The differences of the configs, if they are allowed."""
    try:
        saved = configuration.complete(metadata["config"], RunConfig)
    except errors.UserError as error:
        raise errors.UserError(
            f"the config of checkpoint {folder / str(number)} is not of this version: {error}"
        ) from error
    changed = differences.differences(saved, config)
    if changed and not allowed:
        raise errors.UserError(
            f"the checkpoints in {folder} have another config ({differences.describe(changed)}); "
            "give the same, or another --workdir, or --allow_config_change"
        )
    if changed:
        print(f"config changed: {differences.describe(changed)}")
        for line in differences.consequences(changed):
            print(f"  {line}")
    elif (
        saved.meta_steps != config.meta_steps and config.meta_optimizer.schedule.name != "constant"
    ):
        print(
            f"config.meta_steps: {saved.meta_steps} -> {config.meta_steps}; the learning-rate "
            f"schedule ({config.meta_optimizer.schedule.name}) now has the new length"
        )
    return changed


def _like(trainer: MetaTrainer) -> RunState:
    """Shapes of a run's arrays, with the devices where they belong."""
    state = trainer.abstract_state()
    return RunState(state, state.theta)


def _restore_changed(
    store: Store, number: int, trainer: MetaTrainer, config: RunConfig, changed: Mapping[str, Any]
) -> RunState:
    """What still fits of a checkpoint, in a state of the new config."""
    like = trainer.abstract_state()
    wanted = {"theta": like.theta, "meta_step": like.meta_step}
    if differences.keeps_particles(changed):
        wanted |= {"key": like.key, "estimator_states": like.estimator_states}
    if store.holds(number, {"meta_state": {"meta_opt_state": like.meta_opt_state}}):
        wanted["meta_opt_state"] = like.meta_opt_state
    kept = store.restore(number, {"meta_state": wanted})["meta_state"]
    state = trainer.init(jax.random.key(config.seed), kept["theta"])
    return RunState(state._replace(**kept), kept["theta"])


def _check_beginning(folder: Path, config: RunConfig) -> None:
    """A run that was killed before its first checkpoint may start again, another may not."""
    file = folder / workdir.CONFIG
    changed: Mapping[str, Any] = {}
    if file.exists():
        changed = differences.differences(configuration.load(str(file), RunConfig), config)
    if changed or not file.exists():
        detail = f" with another config ({differences.describe(dict(changed))})" if changed else ""
        raise errors.UserError(
            f"--workdir={folder} holds a run without checkpoints{detail}; choose another folder, "
            "or remove that one"
        )
    print(f"{folder} holds a run that was stopped before its first checkpoint: it starts again")
