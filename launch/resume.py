"""Where a run starts: from its own work folder, from another run's, or afresh."""

import functools
from collections.abc import Mapping
from typing import Any

import jax
from etils import epath

from checkpoints import MismatchError, Step, Store
from configs.base import RunConfig
from launch import configuration, differences, errors, workdir
from meta_train import MetaTrainer
from meta_train.run import run_folder
from meta_train.run.start import RunFailed, RunState, Start, find, load_all


def find_start(
    trainer: MetaTrainer,
    config: RunConfig,
    folder: epath.Path,
    restore_from: str | None,
    allow_config_change: bool,
) -> Start | None:
    """The newest good checkpoint; None where the run starts afresh. Nothing is written.

    Raises:
        UserError: another config than the checkpoint's, or a folder that holds no run.
        RunFailed: there are checkpoints, but all of them are damaged.
    """
    load = functools.partial(_load, trainer=trainer, config=config, allowed=allow_config_change)
    stores = [Store(folder / run_folder.CHECKPOINTS)]
    if restore_from is not None:
        stores.append(_store_of(restore_from))
    for store in stores:
        try:
            start = find(store, load, own=store is stores[0])
        except RunFailed as error:
            raise errors.RunFailed(
                f"{error}. Use --restore_from with another run, or another --workdir"
            ) from error
        if start is not None:
            return start
    if (folder / run_folder.METRICS).exists():
        _check_beginning(folder, config)
    return None


def _store_of(restore_from: str) -> Store:
    given = workdir.place(restore_from)
    for store in (Store(given / run_folder.CHECKPOINTS), Store(given)):
        if store.numbers():
            return store
    raise errors.UserError(f"--restore_from={restore_from} holds no checkpoints of a run")


def _load(
    store: Store, step: Step, trainer: MetaTrainer, config: RunConfig, allowed: bool
) -> RunState:
    """All of a checkpoint, or what still fits of it if the config may change."""
    changed = _compare(step, config, allowed)
    with errors.mistakes(f"checkpoint {step.folder} is of another run: ", MismatchError):
        if changed:
            return _load_changed(store, step.number, trainer, config.seed, changed)
        return load_all(store, step, trainer)


def config_of(step: Step) -> RunConfig:
    """The config that a checkpoint was written with.

    Raises:
        UserError: it has none, as where the run was made from Python, or one of another version.
    """
    if "config" not in step.metadata:
        raise errors.UserError(
            f"checkpoint {step.folder} has no config: its run was made from Python, not by `lopt "
            "meta-train`; resume it there"
        )
    where = f"the config of checkpoint {step.folder} is not of this version: "
    with errors.mistakes(where, errors.UserError):
        return configuration.complete(step.metadata["config"], RunConfig)


def _compare(step: Step, config: RunConfig, allowed: bool) -> dict[str, Any]:
    """The differences of the configs, if they are allowed."""
    saved = config_of(step)
    changed = differences.differences(saved, config)
    if changed and not allowed:
        raise errors.UserError(
            f"the checkpoints in {step.folder.parent} have another config "
            f"({differences.describe(changed)}); give the same, or another --workdir, or "
            "--allow_config_change"
        )
    schedule = config.meta_optimizer.schedule.name
    if changed:
        print(f"config changed: {differences.describe(changed)}")
        print("".join(f"  {line}\n" for line in differences.consequences(changed)), end="")
    elif saved.meta_steps != config.meta_steps and schedule != "constant":
        print(
            f"config.meta_steps: {saved.meta_steps} -> {config.meta_steps}; the learning-rate "
            f"schedule ({schedule}) now has the new length"
        )
    return changed


def _load_changed(
    store: Store, number: int, trainer: MetaTrainer, seed: int, changed: Mapping[str, Any]
) -> RunState:
    """What still fits of a checkpoint, in a state of the new config."""
    like = trainer.abstract_state()
    wanted = {"theta": like.theta, "meta_step": like.meta_step}
    if differences.keeps_particles(changed):
        wanted |= {"key": like.key, "estimator_states": like.estimator_states}
    if store.holds(number, {"meta_state": {"meta_opt_state": like.meta_opt_state}}):
        wanted["meta_opt_state"] = like.meta_opt_state
    kept = store.restore(number, {"meta_state": wanted})["meta_state"]
    state = trainer.init(jax.random.key(seed), kept["theta"])
    return RunState(state._replace(**kept), best_theta=None)


def _check_beginning(folder: epath.Path, config: RunConfig) -> None:
    """A run that was killed before its first checkpoint may start again, another may not."""
    file, detail = folder / run_folder.CONFIG, ""
    if file.exists():
        changed = differences.differences(configuration.load(str(file), RunConfig), config)
        if not changed:
            found = f"{folder} holds a run that was stopped before its first checkpoint"
            print(f"{found}: it starts again")
            return
        detail = f" with another config ({differences.describe(changed)})"
    raise errors.UserError(
        f"--workdir={folder} holds a run without checkpoints{detail}; choose another folder, or "
        "remove that one"
    )
