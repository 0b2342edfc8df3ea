"""One meta-training run from its config to the folder with everything that came of it."""

import time
from pathlib import Path
from typing import Any

import jax

from launch import cache, configuration, devices, loop, records, workdir
from launch.build import Experiment, build
from launch.configuration import Config
from launch.progress import make_progress
from launch.records import Recorder
from launch.validation import Validator
from launch.writer import EventWriter, MetricWriter
from meta_train.evaluation import Row


def run(config: Config, folder: Path, writer: MetricWriter | None = None) -> None:
    """Meta-train as ``config`` says and write everything into ``folder``.

    Args:
        config: complete config, see ``launch.configuration``.
        folder: work folder, see ``launch.workdir.prepare``.
        writer: receives metrics; None writes event files into ``folder``/events.

    Raises:
        UserError: a config that cannot be built; nothing was written then.
    """
    started = time.monotonic()
    devices.prepare()
    cache.enable()
    experiment = build(config)
    workdir.write_json(folder / "config.json", config.to_dict())
    writer = EventWriter(folder / "events") if writer is None else writer
    try:
        _run(experiment, config, folder, writer, started)
    finally:
        writer.close()


def _run(
    experiment: Experiment,
    config: Config,
    folder: Path,
    writer: MetricWriter,
    started: float,
) -> None:
    keys = _Keys(config.seed)
    state = experiment.trainer.init(keys.training)
    _show_start(config, folder, experiment.trainer.devices.count, state.theta, writer)
    validator = Validator(
        experiment,
        keys.validation,
        config.meta_validation.every_steps,
        config.meta_validation.num_seeds,
    )
    progress = make_progress(config.meta_steps)
    recorder = Recorder(
        folder, writer, progress, config.meta_steps, config.log_every_steps, started
    )
    try:
        state = loop.train(experiment, state, config, recorder, validator)
    finally:
        progress.close()
        recorder.close()
    _finish(experiment, config, folder, jax.device_get(state.theta), validator, keys.comparison)
    print(f"done in {time.monotonic() - started:.0f} s: {folder}", flush=True)


class _Keys:
    """The keys of a run, named by use; all follow from the seed.

    Training has the plain key, so that ``trainer.init(jax.random.key(seed))`` is the same run.
    """

    def __init__(self, seed: int) -> None:
        self.training = jax.random.key(seed)

    @property
    def validation(self) -> jax.Array:
        """Of the episodes of meta-validation."""
        return jax.random.fold_in(self.training, 1_000_001)

    @property
    def comparison(self) -> jax.Array:
        """Of the comparison that ends a run."""
        return jax.random.fold_in(self.training, 1_000_002)


def _show_start(
    config: Config, folder: Path, num_devices: int, theta: Any, writer: MetricWriter
) -> None:
    from clu import parameter_overview, platform

    overview = parameter_overview.get_parameter_overview(theta, include_stats=False)
    title = f"{configuration.subject(config)} on {configuration.goal(config)}"
    device = jax.devices()[0]
    print(f"meta-training {title} by {config.estimator.name}")
    print(overview)
    print(f"on {num_devices} x {device.device_kind}, into {folder}", flush=True)
    writer.write_hparams(configuration.flat(config))
    platform.work_unit().set_task_status(f"meta-training {title}")


def _finish(
    experiment: Experiment,
    config: Config,
    folder: Path,
    theta: Any,
    validator: Validator,
    key: jax.Array,
) -> None:
    """Plot, compare, and save the best theta and the last."""
    from launch import bundles, plots

    plots.plot_meta_loss(records.read(folder), folder / "meta_loss.png")
    best, meta_step, loss = theta, config.meta_steps, None
    if validator.best_meta_step is not None:
        best, meta_step = validator.best_theta, validator.best_meta_step
        loss = validator.best_loss
    rows = _compare(experiment, config, folder, best, key)
    horizon = experiment.episodes.max
    card = bundles.make_card(config, horizon, meta_step, loss, rows)
    bundles.save(folder / "bundle", experiment.optimizer, best, card)
    card = bundles.make_card(config, horizon, config.meta_steps, None, [])
    bundles.save(folder / "bundle_last", experiment.optimizer, theta, card)


def _compare(
    experiment: Experiment, config: Config, folder: Path, theta: Any, key: jax.Array
) -> list[Row]:
    from launch import comparison, plots
    from meta_train import evaluation

    if experiment.optimizer is None or not config.comparison.num_seeds:
        return []
    num_steps = config.comparison.num_steps or experiment.episodes.max
    print(
        f"comparing over {num_steps} inner steps, {config.comparison.num_seeds} seeds", flush=True
    )
    rows = evaluation.compare(
        experiment.optimizer,
        theta,
        {**experiment.tasks, **experiment.held_out},
        num_steps,
        num_seeds=config.comparison.num_seeds,
        key=key,
        devices=experiment.trainer.devices,
    )
    comparison.print_table(rows, num_steps, experiment.held_out)
    comparison.write(rows, folder)
    plots.plot_comparison(rows, experiment.held_out, folder / "comparison.png")
    return rows
