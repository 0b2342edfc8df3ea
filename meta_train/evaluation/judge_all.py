"""Every optimizer on every workload: an evaluation from optimizers and a suite to its numbers."""

import queue
import time
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, as_completed
from typing import Any

import jax
import joblib
import numpy as np

from meta_train.evaluation import identity, measures, summary
from meta_train.evaluation.evaluation import CURVES, Curve, Evaluation, Key
from meta_train.evaluation.judge import Judged, Plan, judge, prepare
from meta_train.evaluation.optimizers import Optimizer
from meta_train.evaluation.result_store import Store
from meta_train.evaluation.workload import Workload

Progress = Callable[[Sequence[Judged], float], None]
"""Is told what came of one optimizer on one task and its changes, and the seconds it took."""


def evaluate(
    optimizers: Sequence[Optimizer],
    suite: Sequence[Workload],
    plan: Plan | None = None,
    store: Store | None = None,
    *,
    devices: Sequence[Any] | None = None,
    progress: Progress | None = None,
) -> Evaluation:
    """Train every workload with every optimizer, from several seeds, and compare.

    Baselines are tuned on each task first, on a seed of their own; learned optimizers are taken as
    they are. All optimizers meet the same initial parameters and batches, seed by seed.

    Args:
        optimizers: see ``learned`` and ``baseline``; their names differ.
        suite: tasks, and changes of them, whose label is that of the task itself.
        plan: how to tune and judge; None: as ``Plan()`` says.
        store: where finished results are looked for and kept, so that what was stopped resumes.
        devices: each trains one optimizer at a time; None: one core of a CPU, or every device. A
            CPU may be named several times.
        progress: is called whenever an optimizer is done with a task.

    Returns:
        The evaluation.

    Raises:
        ValueError: nothing to judge, a name or a workload that is there twice, a change without its
            task, or steps that are no multiple of the recorded points.
    """
    started, plan = time.monotonic(), plan or Plan()
    groups = _groups(optimizers, suite)
    devices = devices or default_devices()
    judged = _judge_all(groups, optimizers, plan, store or Store([]), devices, progress)
    found = summary.summarise(suite, optimizers, judged, plan)
    found["environment"] = {
        **identity.machine(),
        "versions": identity.run_versions(),
        "devices": len(devices),
        "seconds": round(time.monotonic() - started, 1),
    }
    return Evaluation(found, _curves(judged))


def default_devices() -> list[Any]:
    """One for each training that may run at a time; a CPU is one device of many cores."""
    on_cpu = jax.default_backend() == "cpu"
    return jax.devices()[:1] * joblib.cpu_count() if on_cpu else jax.local_devices()


def _groups(optimizers: Sequence[Optimizer], suite: Sequence[Workload]) -> list[list[Workload]]:
    """Every task, followed by its changes."""
    if not optimizers or not suite:
        raise ValueError("there is nothing to judge: name optimizers and workloads.")
    _check_unique("optimizer", [x.name for x in optimizers])
    _check_unique("workload", [x.title for x in suite])
    groups = {x.label: [x] for x in suite if not x.axis}
    for workload in suite:
        if workload.axis and workload.label not in groups:
            raise ValueError(f"{workload.title} changes a task that is not in the suite.")
        if workload.axis:
            groups[workload.label].append(workload)
    return list(groups.values())


def _check_unique(kind: str, names: Sequence[str]) -> None:
    twice = [x for x in names if names.count(x) > 1]
    if twice:
        raise ValueError(f"{kind} {twice[0]!r} is there twice; give each a name of its own.")


def _judge_all(
    groups: Sequence[Sequence[Workload]],
    optimizers: Sequence[Optimizer],
    plan: Plan,
    store: Store,
    devices: Sequence[Any],
    progress: Progress | None,
) -> list[Judged]:
    """Every optimizer on every workload, one task and optimizer at a time on each device."""
    free: queue.SimpleQueue[Any] = queue.SimpleQueue()
    for device in devices:
        free.put(device)

    def job(optimizer: Optimizer, group: Any) -> tuple[list[Judged], float]:
        started, device = time.monotonic(), free.get()
        try:
            found = judge(optimizer, group, plan, store.of(optimizer.kind), device)
        finally:
            free.put(device)
        return found, time.monotonic() - started

    with ThreadPoolExecutor(len(devices)) as pool:
        futures: list[Future] = []
        for group in groups:
            prepared = [prepare(workload, plan) for workload in group]
            futures += [pool.submit(job, one, prepared) for one in optimizers]
        try:
            for future in as_completed(futures):
                found = future.result()
                if progress:
                    progress(*found)
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise
    return [judged for future in futures for judged in future.result()[0]]


def _curves(judged: Iterable[Judged]) -> dict[str, dict[Key, Curve]]:
    """The recorded points; the training loss also of the first batch."""
    found: dict[str, dict[Key, Curve]] = {name: {} for name in CURVES}
    for one in judged:
        key = one.workload.label, one.workload.axis, one.optimizer
        curves, num_points = one.curves, one.curves.valid_loss.shape[1]
        points = np.arange(1, num_points + 1) * (one.workload.num_steps // num_points)
        train = measures.at_points(curves.train_loss, points.tolist())
        train = np.concatenate([curves.train_loss[:, :1], train], axis=1)
        found["train_loss"][key] = _finite(np.append(0, points), train)
        found["valid_loss"][key] = _finite(points, curves.valid_loss)
        if not np.isnan(curves.valid_accuracy).all():
            found["valid_accuracy"][key] = _finite(points, curves.valid_accuracy)
    return found


def _finite(steps: np.ndarray, values: np.ndarray) -> Curve:
    return Curve(steps, np.where(np.isfinite(values), values, np.nan).astype(np.float64))
