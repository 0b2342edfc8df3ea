"""One meta-training run from its config to the folder with everything that came of it."""

import time
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

import jax

from configs.base import RunConfig
from launch import (
    cache,
    configuration,
    devices,
    distributed,
    errors,
    first_theta,
    loop,
    records,
    resume,
    signals,
    workdir,
)
from launch.build import Experiment, build
from launch.checkpointing import Checkpoints
from launch.progress import make_progress
from launch.records import Recorder
from launch.signals import StopRequests
from launch.validation import Validator
from launch.writer import EventWriter, MetricWriter
from meta_train import MetaTrainer
from meta_train.evaluation.card import judged
from meta_train.groups import averaged


class Interrupted(NamedTuple):
    """A run that a signal has stopped, after saving."""

    meta_step: int


def run(
    config: RunConfig,
    folder: Path,
    writer: MetricWriter | None = None,
    restore_from: str | None = None,
    allow_config_change: bool = False,
) -> Interrupted | None:
    """Meta-train as ``config`` says and write everything into ``folder``.

    A run that was begun in ``folder`` goes on from its newest good checkpoint.

    Args:
        config: complete config, see ``launch.configuration``.
        folder: work folder, see ``launch.workdir.prepare``.
        writer: receives metrics; None writes event files into ``folder``/events.
        restore_from: another run's folder, from which a new one takes its start.
        allow_config_change: go on from a checkpoint of another config as far as that has a meaning.

    Returns:
        None when all is done.

    Raises:
        UserError: a config that cannot be built, or is not that of the run in ``folder``, or
            another run goes on there; nothing was written then.
        RunFailed: the run could not go on, or its end could not be saved.
    """
    started = time.monotonic()
    devices.prepare()
    cache.enable()
    with signals.listen() as stop, distributed.output_folder(folder) as output:
        experiment = build(config)
        keys = _Keys(config.seed)
        with distributed.lock(output):
            start = resume.find(experiment, config, folder, restore_from, allow_config_change)
            finished = start and start.own and workdir.finished_steps(folder) == config.meta_steps
            distributed.check_agreement(start.number if start else 0)
            if finished:
                print(f"{folder} is finished: {config.meta_steps} meta-steps are done")
                return None
            theta = None
            if start is None or config.objective.unit is not None:
                theta = first_theta.find(experiment, config, keys.training)
            snapshot = start.metadata["records"] if start and start.own else None
            if missing := records.cut(output, snapshot):
                print(f"{output / workdir.METRICS} is damaged: {missing} bytes of records are lost")
            (output / workdir.FINISHED).unlink(missing_ok=True)
            workdir.write_json(output / workdir.CONFIG, config.to_dict())
            writer = EventWriter(output / workdir.EVENTS) if writer is None else writer
            store = folder / workdir.CHECKPOINTS
            try:
                experiment = first_theta.in_units(experiment, theta, config, keys.validation)
                return _run(
                    experiment, config, keys, theta, output, store, writer, started, start, stop
                )
            finally:
                writer.close()


def _run(
    experiment: Experiment,
    config: RunConfig,
    keys: "_Keys",
    theta: Any,
    folder: Path,
    store: Path,
    writer: MetricWriter,
    started: float,
    start: resume.Start | None,
    stop: StopRequests,
) -> Interrupted | None:
    validator = Validator(
        experiment,
        keys.validation,
        config.meta_validation.every_steps,
        config.meta_validation.num_seeds,
    )
    if start and start.same_config:
        validator.restore(start.metadata["validation"], start.state.best_theta)
    done = start.number if start else 0
    with ThreadPoolExecutor(max_workers=1) as pool:
        compiling = pool.submit(loop.compile_ahead, experiment, config.meta_steps - done)
        state = start.state.meta_state if start else experiment.trainer.init(keys.training, theta)
        _show_start(config, folder, state.theta, writer)
    _show_plan(experiment.trainer, compiling.result())
    progress = make_progress(config.meta_steps)
    recorder = Recorder(
        folder,
        writer,
        progress,
        config.meta_steps,
        config.log_every_steps,
        started,
        start.metadata["records"] if start else None,
    )
    saved = done if start and start.own else None
    used = experiment.trainer.devices
    checkpoints = Checkpoints(store, config, used, recorder, validator, stop, saved)
    try:
        state, done = loop.train(
            experiment, state, done, config, recorder, validator, checkpoints, stop
        )
        checkpoints.finish(done, state)
    finally:
        checkpoints.close()
        progress.close()
        recorder.close()
    if stop.requested():
        print(f"stopped after meta-step {done}; the same command goes on from there", flush=True)
        return Interrupted(done)
    try:
        theta = jax.device_get(averaged(state.meta_opt_state, state.theta))
        _finish(experiment, checkpoints.metadata(done), folder, theta, validator)
        workdir.write_json(folder / workdir.FINISHED, {"meta_steps": config.meta_steps})
    except OSError as error:
        raise errors.RunFailed(
            f"all meta-steps are done and saved, but the results cannot be written into {folder} "
            f"({error.strerror or error}); the same command tries again"
        ) from error
    print(f"done in {time.monotonic() - started:.0f} s: {folder}", flush=True)
    return None


class _Keys:
    """The keys of a run, named by use; all follow from the seed.

    Training has the plain key, so that ``trainer.init(jax.random.key(seed))`` is the same run.
    """

    def __init__(self, seed: int) -> None:
        self.training = jax.random.key(seed)

    @property
    def validation(self) -> jax.Array:
        """Of the episodes of meta-validation, which give the meta-losses their units too.

        So that the meta-validation of the first theta is exactly one unit.
        """
        return jax.random.fold_in(self.training, 1_000_001)


def _show_start(config: RunConfig, folder: Path, theta: Any, writer: MetricWriter) -> None:
    from clu import parameter_overview, platform

    overview = parameter_overview.get_parameter_overview(theta, include_stats=False)
    title = f"{config.subject} on {config.goal}"
    print(f"meta-training {title} by {config.estimator.name}, into {folder}")
    print(overview, flush=True)
    writer.write_hparams(configuration.flat(config))
    platform.work_unit().set_task_status(f"meta-training {title}")


def _show_plan(trainer: MetaTrainer, num_bytes: int) -> None:
    """Which device does how much; ``num_bytes`` of memory on each, if that is known."""
    count, groups = trainer.devices.count, trainer.estimator.num_groups
    words = f"on {count} x {jax.devices()[0].device_kind}"
    words += f", each with {groups // count} of {groups} groups of particles per task"
    memory = f", {num_bytes / 1e6:,.1f} MB of memory" if num_bytes else ""
    print(words + memory, flush=True)


def _finish(
    experiment: Experiment,
    metadata: Mapping[str, Any],
    folder: Path,
    theta: Any,
    validator: Validator,
) -> None:
    """Plot, compare, and save the best theta and the last."""
    from launch import bundles, comparison, plots

    config = configuration.complete(metadata["config"], RunConfig)
    best, meta_step, loss = theta, config.meta_steps, None
    if validator.best_meta_step is not None:
        best, meta_step = validator.best_theta, validator.best_meta_step
        loss = validator.best_loss
    more = {}
    if experiment.optimizer is not None and config.comparison.num_seeds:
        found = comparison.compare(experiment, config, best)
        found.save(folder / workdir.COMPARISON)
        more = judged(found).entries
    plots.write(folder)
    card = bundles.make_card(metadata, meta_step, loss)
    bundles.save(folder / "bundle", experiment.optimizer, best, {**card, **more})
    card = bundles.make_card(metadata, config.meta_steps, None)
    bundles.save(folder / "bundle_last", experiment.optimizer, theta, card)
