"""One evaluation from its config and bundles to the folder with everything that came of it."""

import queue
import time
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor, as_completed
from pathlib import Path
from typing import Any

import jax
import joblib

from launch import build, cache, errors, signals, user_code, workdir
from launch.configuration import Config
from launch.construct import plain
from launch.evaluate import held_out, identity, results, summary, table
from launch.evaluate.judge import CRITERIA, Judged, Plan, judge
from launch.evaluate.optimizers import Optimizer, load_bundles, make_baselines
from launch.evaluate.progress import EvaluationProgress
from launch.evaluate.settings import Setting, make_settings
from launch.evaluate.store import Store
from meta_train.evaluation import Course
from meta_train.evaluation.costs import Cost, measure_cost
from meta_train.evaluation.tuning import Budget

_PARTS = "parts"
"""Folder of finished parts, from which a stopped evaluation goes on."""


def evaluate(config: Config, bundles: Sequence[str], folder: Path) -> None:
    """Judge bundles and baselines as ``config`` says and write everything into ``folder``.

    An evaluation that was stopped goes on with what is not finished.

    Args:
        config: complete config, see configs/held_out.py.
        bundles: folders of bundles, or of runs.
        folder: work folder.

    Raises:
        UserError: a config or a bundle that cannot be used, or a folder that another command
            writes into; nothing was written then.
    """
    started = time.monotonic()
    cache.enable()
    with signals.listen():
        user_code.import_all(config.imports)
        fields = plain(config.to_dict())
        plan = make_plan(config)
        optimizers = [
            *load_bundles(bundles, fields["baselines"], fields["tuning"]["multiplier"]),
            *make_baselines(fields["baselines"]),
        ]
        if not optimizers:
            raise errors.UserError("nothing to judge: name a bundle or config.baselines")
        _check_reference(fields)
        groups = make_settings(fields)
        settings = [setting for group in groups for setting in group]
        held_out.check(settings, optimizers)
        devices = _devices(fields["workers"])
        with workdir.lock(folder):
            results.write_config(folder, config)
            _announce(optimizers, settings, plan, len(devices))
            judged = _judge_all(groups, optimizers, plan, folder, fields["cache_dir"], devices)
            costs = {optimizer.name: _cost(optimizer) for optimizer in optimizers}
            seconds = time.monotonic() - started
            found = summary.summarise(
                settings, optimizers, judged, costs, plan, fields["reference"]
            )
            found["environment"] = _environment(seconds, len(devices))
            results.write(folder, found, judged, plan)
            table.show(found)
            print(
                f"done in {seconds:.0f} s: {folder}; a page of it: lopt report {folder}", flush=True
            )


def make_plan(config: Config) -> Plan:
    """How to judge, from the config.

    Raises:
        UserError: a number that is too small, or an unknown criterion.
    """
    limits = {
        "seed": 0,
        "num_steps": 1,
        "num_seeds": 2,
        "num_points": 1,
        "valid_batches": 1,
        "tuning.num_grid": 1,
        "tuning.num_random": 0,
    }
    build.check_limits(config, limits)
    if config.tuning.criterion not in CRITERIA:
        raise errors.unknown("config.tuning.criterion", config.tuning.criterion, CRITERIA)
    return Plan(
        config.seed,
        config.num_seeds,
        config.num_points,
        config.valid_batches,
        Budget(config.tuning.num_grid, config.tuning.num_random),
        config.tuning.criterion,
        config.tuning.on_axes,
        config.tuning.use_shipped,
    )


def _check_reference(fields: dict[str, Any]) -> None:
    names, known = fields["reference"], fields["baselines"]
    if names and not set(names) & set(known):
        raise errors.UserError(
            f"config.reference = {names!r} names none of config.baselines ({', '.join(known)}); "
            "name some of them, or () for no target"
        )


def _devices(workers: Any) -> list[Any]:
    """One for each training that may run at a time; a CPU is one device of many cores."""
    on_cpu = jax.default_backend() == "cpu"
    devices = jax.devices()[:1] * joblib.cpu_count() if on_cpu else jax.local_devices()
    if workers is None:
        return devices
    if isinstance(workers, bool) or not isinstance(workers, int) or workers < 1:
        raise errors.UserError(f"config.workers = {workers!r} must be at least 1, or None")
    if on_cpu:
        return devices[:1] * workers
    if workers > len(devices):
        raise errors.UserError(f"config.workers = {workers}, but there are {len(devices)} devices")
    return devices[:workers]


def _announce(
    optimizers: Sequence[Optimizer], settings: Sequence[Setting], plan: Plan, workers: int
) -> None:
    learned = [optimizer.name for optimizer in optimizers if optimizer.kind == "learned"]
    tasks = sum(not setting.axis for setting in settings)
    print(
        f"judging {', '.join(learned) or 'no learned optimizer'} and "
        f"{sum(x.kind == 'baseline' for x in optimizers)} baselines on {tasks} tasks and "
        f"{len(settings) - tasks} changes of them, {plan.num_seeds} seeds; a search is of "
        f"{sum(plan.budget)} trials; {workers} at a time on {jax.devices()[0].device_kind}",
        flush=True,
    )
    for optimizer in optimizers:
        if optimizer.kind == "learned" and held_out.listed_tasks(optimizer) is None:
            print(
                f"{optimizer.name} does not say what it was meta-trained on: whether the tasks are "
                "held out is not known",
                flush=True,
            )


def _judge_all(
    groups: Sequence[Sequence[Setting]],
    optimizers: Sequence[Optimizer],
    plan: Plan,
    folder: Path,
    cache_dir: str | None,
    devices: Sequence[Any],
) -> list[Judged]:
    """Every optimizer in every setting, one task and optimizer at a time on each device."""
    own, shared = folder / _PARTS, cache.folder("evaluation", cache_dir)
    free: queue.SimpleQueue[Any] = queue.SimpleQueue()
    for device in devices:
        free.put(device)

    def job(
        optimizer: Optimizer, group: Sequence[Setting], courses: list[Course], prints: list[str]
    ) -> tuple[list[Judged], float]:
        started, device = time.monotonic(), free.get()
        folders = [own, shared] if optimizer.kind == "baseline" and shared else [own]
        try:
            found = judge(optimizer, group, courses, prints, plan, Store(folders), device)
        finally:
            free.put(device)
        return found, time.monotonic() - started

    with ThreadPoolExecutor(len(devices)) as pool:
        futures: list[Future] = []
        for group in groups:
            courses = [_course(setting, plan) for setting in group]
            prints = [identity.fingerprint(setting.task) for setting in group]
            futures += [pool.submit(job, one, group, courses, prints) for one in optimizers]
        try:
            with EvaluationProgress(len(futures)) as progress:
                for future in as_completed(futures):
                    found, seconds = future.result()
                    progress.show(_describe(found, seconds))
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise
    return [judged for future in futures for judged in future.result()[0]]


def _course(setting: Setting, plan: Plan) -> Course:
    return Course(setting.task, setting.num_steps, plan.span(setting.num_steps), plan.valid_batches)


def _describe(found: Sequence[Judged], seconds: float) -> str:
    first = found[0]
    loss = summary.mean_loss(first)
    changes = f" and {len(found) - 1} changes" if len(found) > 1 else ""
    return (
        f"{first.setting.label}{changes}  {first.optimizer}: mean loss {loss:.4g} ({seconds:.1f} s)"
    )


def _cost(optimizer: Optimizer) -> Cost:
    return measure_cost(lambda theta: optimizer.make(theta, {}, 1000), optimizer.theta)


def _environment(seconds: float, workers: int) -> dict[str, Any]:
    return {
        **identity.machine(),
        "versions": identity.run_versions(),
        "devices": workers,
        "seconds": round(seconds, 1),
    }
