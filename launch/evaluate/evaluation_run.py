"""Evaluations that commands make: what a config asks for, and the comparison that ends a run."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

import jax
from etils import epath

import lopt
from configs.base import RunConfig, TaskEntry
from configs.held_out import EvaluationConfig
from launch import errors, signals, user_code, workdir
from launch.build import Experiment
from launch.evaluate.from_config import (
    SHIPPED,
    check_sets,
    load_bundles,
    make_baselines,
    make_devices,
    make_plan,
    make_suite,
)
from lopt.card_limits import LEARNED
from meta_train import evaluation, process
from meta_train.evaluation import (
    Evaluation,
    Optimizer,
    Plan,
    Store,
    Workload,
    baseline,
    learned,
    terminal_tables,
)
from meta_train.evaluation.evaluation import RESULTS, SUMMARY
from meta_train.evaluation.result_progress import ResultProgress
from meta_train.evaluation.result_store import write_atomically
from meta_train.evaluation.task_sets import listed_tasks
from meta_train.evaluation.workload import HELD_OUT, META_TRAINING
from meta_train.run import run_folder

_PARTS = "parts"
"""Folder of finished parts, from which a stopped evaluation resumes."""
_SEED = 1_000_003
"""What is added to the seed of the run."""


def evaluate(config: EvaluationConfig, bundles: Sequence[str], folder: epath.Path) -> None:
    """Judge bundles and baselines as ``config`` says and write everything into ``folder``.

    A stopped evaluation resumes with what is not finished.

    Args:
        config: complete config, see configs/held_out.py.
        bundles: folders of bundles, or of runs.
        folder: work folder.

    Raises:
        UserError: a config or a bundle that cannot be used, or a folder that another command
            writes into; nothing was written then.
        RunFailed: results cannot be written.
    """
    process.keep_compiled()
    with signals.listen():
        user_code.import_all(config.imports)
        optimizers = [
            *load_bundles(bundles, config.baselines, config.tuning.multiplier),
            *make_baselines(config.baselines),
        ]
        if not optimizers:
            raise errors.UserError("nothing to judge: name a bundle or config.baselines")
        plan, suite = make_plan(config), make_suite(config)
        check_sets(suite, optimizers)
        devices = make_devices(config.workers)
        shared = process.cache_folder("evaluation", config.cache_dir)
        shipped = SHIPPED if config.tuning.use_shipped else None
        store = Store([folder / _PARTS], shared=[shared] if shared else [], shipped=shipped)
        with workdir.lock(folder), errors.writing():
            _write_config(folder, config)
            _announce(optimizers, suite, plan, len(devices))
            total = sum(not x.axis for x in suite) * len(optimizers)
            with ResultProgress(total) as progress:
                found = evaluation.evaluate(
                    optimizers,
                    suite,
                    plan,
                    store,
                    devices=devices,
                    progress=lambda *judged: progress.show(terminal_tables.line(*judged)),
                ).with_costs(optimizers)
            found.save(folder)
        more = [found.comparisons()] if found.rows("comparisons") else []
        terminal_tables.show(found, found.aggregate(), *more)
        seconds = found.summary["environment"]["seconds"]
        print(f"done in {seconds:.0f} s: {folder}; a page of it: lopt report {folder}", flush=True)


def _write_config(folder: epath.Path, config: EvaluationConfig) -> None:
    """Write the resolved config; what an earlier evaluation left here is then out of date.

    Raises:
        UserError: the folder holds a meta-training run.
    """
    if run_folder.is_run(folder):
        raise errors.UserError(
            f"--workdir={folder} holds a meta-training run; choose another folder, such as "
            f"{folder / 'held_out'}"
        )
    for name in (RESULTS, SUMMARY):
        (folder / name).unlink(missing_ok=True)
    content = json.dumps(config.to_dict(), indent=2, allow_nan=False) + "\n"
    write_atomically(folder / run_folder.CONFIG, content.encode())


def _announce(
    optimizers: Sequence[Optimizer], suite: Sequence[Workload], plan: Plan, workers: int
) -> None:
    names = [optimizer.name for optimizer in optimizers if optimizer.kind == "learned"]
    tasks = sum(not workload.axis for workload in suite)
    print(
        f"judging {', '.join(names) or 'no learned optimizer'} and "
        f"{sum(x.kind == 'baseline' for x in optimizers)} baselines on {tasks} tasks and "
        f"{len(suite) - tasks} changes of them, {plan.num_seeds} seeds; a search is of "
        f"{sum(plan.budget)} trials; {workers} at a time on {jax.devices()[0].device_kind}",
        flush=True,
    )
    for optimizer in optimizers:
        if optimizer.kind == "learned" and listed_tasks(optimizer) is None:
            print(
                f"{optimizer.name} does not say what it was meta-trained on: whether the tasks are "
                "held out is not known",
                flush=True,
            )


def compare(experiment: Experiment, config: RunConfig, theta: Any) -> Evaluation:
    """Judge theta against ``config.comparison.baselines``, on the run's tasks and held-out ones.

    Every process of a run does it by itself, on its own devices.
    """
    assert experiment.optimizer is not None
    section = config.comparison
    num_steps = section.num_steps or experiment.episodes.max
    suite = [
        *_workloads(experiment.tasks, config.tasks, META_TRAINING, num_steps),
        *_workloads(experiment.held_out, section.held_out, HELD_OUT, num_steps),
    ]
    names = section.baselines
    plan = Plan.short(num_steps, section.num_seeds, names, config.seed + _SEED)
    print(f"comparing over {num_steps} inner steps, {plan.num_seeds} seeds", flush=True)
    bundle = lopt.Bundle(experiment.optimizer, theta, {})
    optimizers = [learned(bundle, LEARNED), *(baseline(name) for name in names)]
    devices = jax.local_devices()[: experiment.trainer.devices.count]
    found = evaluation.evaluate(optimizers, suite, plan, devices=devices)
    terminal_tables.show(found)
    return found


def _workloads(
    tasks: Mapping[str, Any], entries: Mapping[str, TaskEntry], set_: str, num_steps: int
) -> list[Workload]:
    found = []
    for label, task in tasks.items():
        name, fields = entries[label].name, entries[label].fields
        found.append(Workload(label, task, num_steps, set=set_, name=name, fields=fields))
    return found
