"""``lopt meta-train`` from its config to the folder with everything that came of it."""

import contextlib
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import jax
from etils import epath

from configs.base import RunConfig
from launch import distributed, errors, first_theta, resume, signals, workdir
from launch.build import Experiment, build, find_writers
from launch.signals import StopRequests
from meta_train import evaluation, process
from meta_train.capacity import TooLarge
from meta_train.evaluation.model_card import judged
from meta_train.run import (
    BadSteps,
    Checkpointing,
    Profile,
    Run,
    RunFailed,
    Start,
    Validation,
    run_folder,
)
from meta_train.run.progress import make_progress
from meta_train.run.records import Records
from meta_train.run.writer import Writer


def run(
    config: RunConfig,
    folder: epath.Path,
    restore_from: str | None = None,
    allow_config_change: bool = False,
) -> bool:
    """Meta-train as ``config`` says and write everything into ``folder``.

    A run that was begun in ``folder`` resumes from its newest good checkpoint.

    Args:
        config: complete config, see ``launch.configuration``.
        folder: work folder, see ``launch.workdir.prepare``.
        restore_from: another run's folder, from which a new one takes its start.
        allow_config_change: resume from a checkpoint of another config, as far as that makes sense.

    Returns:
        Whether a signal has stopped it, after saving; else all is done.

    Raises:
        UserError: a config that cannot be built, or is not that of the run in ``folder``, or
            another run is going there; nothing was written then.
        RunFailed: the run could not continue, or its end could not be saved.
    """
    started = time.monotonic()
    process.one_device_per_core()
    process.keep_compiled()
    with signals.listen() as stop, distributed.output_folder(folder) as output:
        writers = find_writers(config.writers)
        experiment = build(config)
        with distributed.lock(output):
            start = resume.find_start(
                experiment.trainer, config, folder, restore_from, allow_config_change
            )
            distributed.check_agreement(start.number if start else 0)
            if start and start.own and run_folder.finished_steps(folder) == config.meta_steps:
                print(f"{folder} is finished: {config.meta_steps} meta-steps are done")
                return False
            theta = None
            if start is None or config.objective.unit is not None:
                theta = first_theta.find(experiment, config, jax.random.key(config.seed))
            experiment = first_theta.in_units(experiment, theta, config, validation_key(config))
            (output / run_folder.FINISHED).unlink(missing_ok=True)
            workdir.write_json(output / run_folder.CONFIG, config.to_dict())
            kept = writers if output == folder else ()  # one process is enough for a tracker
            training = _make_run(experiment, config, folder, output, theta, started, kept)
            stopped = _run(training, experiment, config, start, output, stop)
            if not stopped:
                print(f"done in {time.monotonic() - started:.0f} s: {output}", flush=True)
            return stopped


def _make_run(
    experiment: Experiment,
    config: RunConfig,
    folder: epath.Path,
    output: epath.Path,
    theta: Any,
    started: float,
    writers: Sequence[Callable[[Path], Writer]],
) -> Run:
    def measure(theta: Any) -> float:
        return evaluation.meta_validate(
            experiment.validation.systems,
            experiment.validation.shares,
            experiment.episodes,
            theta,
            validation_key(config),
            config.meta_validation.num_seeds,
            experiment.trainer.devices,
            experiment.trainer.estimator.mean_over,
            experiment.validation.geometric,
        )

    profiles = [] if config.profile is None else [Profile(output / "profile", *config.profile)]
    return Run(
        experiment.trainer,
        jax.random.key(config.seed),  # plain, so that the same seed in Python is the same run
        folder,
        meta_steps=config.meta_steps,
        theta=theta,
        hooks=[
            Records(output, writers, config.log_every_steps, config.flat()),
            make_progress(),
            Validation(measure, config.meta_validation.every_steps),
            Checkpointing(config.checkpoint.every_steps),
            BadSteps(config.bad_steps.max_in_a_row),
            *profiles,
        ],
        steps_per_window=config.steps_per_window,
        keep_latest=config.checkpoint.keep_latest,
        about={"config": config.to_dict()},
        started=started,
    )


def validation_key(config: RunConfig) -> jax.Array:
    """Of the episodes of meta-validation, which give the meta-losses their units too.

    So that the meta-validation of the first theta is exactly one unit.
    """
    return jax.random.fold_in(jax.random.key(config.seed), 1_000_001)


def _run(
    training: Run,
    experiment: Experiment,
    config: RunConfig,
    start: Start | None,
    output: epath.Path,
    stop: StopRequests,
) -> bool:
    """Train, save and finish; whether it was stopped before its end."""
    try:
        with contextlib.closing(training):
            if start is not None:
                training.restore(start)
            with errors.mistakes("config.estimator.num_pairs: ", TooLarge):
                _show(training, config, output)
            stop.unsaved = lambda: training.unsaved
            training.train(stop.requested)
            training.save()
            metadata = training.metadata()
    except RunFailed as error:
        raise errors.RunFailed(str(error)) from error
    if stop.requested():
        step = training.meta_step
        print(f"stopped after meta-step {step}; the same command resumes from there", flush=True)
        return True
    try:
        _finish(training, experiment, config, metadata, output)
        workdir.write_json(output / run_folder.FINISHED, {"meta_steps": config.meta_steps})
    except OSError as error:
        raise errors.RunFailed(
            f"all meta-steps are done and saved, but the results cannot be written into {output} "
            f"({error.strerror or error}); the same command tries again"
        ) from error
    return False


def _show(training: Run, config: RunConfig, folder: epath.Path) -> None:
    """What is trained, and which device does how much; compiles the first dispatch."""
    from clu import parameter_overview, platform

    title = f"{config.subject} on {config.goal}"
    platform.work_unit().set_task_status(f"meta-training {title}")
    with ThreadPoolExecutor(max_workers=1) as pool:
        compiling = pool.submit(training.compile)
        theta = training.state.meta_state.theta
        print(f"meta-training {title} by {config.estimator.name}, into {folder}")
        print(parameter_overview.get_parameter_overview(theta, include_stats=False), flush=True)
    count, groups = training.trainer.devices.count, training.trainer.estimator.num_groups
    words = f"on {count} x {jax.devices()[0].device_kind}"
    words += f", each with {groups // count} of {groups} groups of particles per task"
    memory = compiling.result()
    print(f"{words}, {memory.total / 1e6:,.1f} MB of memory{training.windows}", flush=True)


def _finish(
    training: Run,
    experiment: Experiment,
    config: RunConfig,
    metadata: Mapping[str, Any],
    folder: epath.Path,
) -> None:
    """Plot, compare, and save the best theta and the last."""
    from launch import bundles
    from launch.evaluate.evaluation_run import compare
    from meta_train.figures import run_figures

    last, validations = jax.device_get(training.theta), training.validations
    best, meta_step = training.best_theta, validations.best_meta_step
    if best is None or meta_step is None:
        best, meta_step = last, config.meta_steps
    more = {}
    if experiment.optimizer is not None and config.comparison.num_seeds:
        found = compare(experiment, config, best)
        found.save(folder / run_folder.COMPARISON)
        more = judged(found).entries
    run_figures.write(folder)
    card = bundles.make_card(config, metadata, meta_step, validations.best_loss)
    bundles.save(folder / "bundle", experiment.optimizer, best, {**card, **more})
    card = bundles.make_card(config, metadata, config.meta_steps, None)
    bundles.save(folder / "bundle_last", experiment.optimizer, last, card)
