"""One evaluation from its config and bundles to the folder with everything that came of it."""

import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import jax
from rich.console import Console

from configs.held_out import EvaluationConfig
from launch import cache, errors, signals, user_code, workdir
from launch.evaluate import held_out
from launch.evaluate.calibrated import SHIPPED
from launch.evaluate.optimizers import load_bundles, make_baselines
from launch.evaluate.progress import EvaluationProgress
from launch.evaluate.suite import make_suite
from meta_train import evaluation
from meta_train.evaluation import Evaluation, Optimizer, Plan, Store, Workload
from meta_train.evaluation.evaluation import RESULTS, SUMMARY
from meta_train.evaluation.judge import CRITERIA, Judged
from meta_train.evaluation.measures import measure
from meta_train.evaluation.store import write_atomically
from meta_train.evaluation.tuning import Budget

_PARTS = "parts"
"""Folder of finished parts, from which a stopped evaluation goes on."""
_WIDTH = 110
"""Columns where the output is no terminal."""


def evaluate(config: EvaluationConfig, bundles: Sequence[str], folder: Path) -> None:
    """Judge bundles and baselines as ``config`` says and write everything into ``folder``.

    An evaluation that was stopped goes on with what is not finished.

    Args:
        config: complete config, see configs/held_out.py.
        bundles: folders of bundles, or of runs.
        folder: work folder.

    Raises:
        UserError: a config or a bundle that cannot be used, or a folder that another command
            writes into; nothing was written then.
        RunFailed: results cannot be written.
    """
    cache.enable()
    with signals.listen():
        user_code.import_all(config.imports)
        fields = config.to_dict()
        plan = make_plan(config)
        optimizers = [
            *load_bundles(bundles, fields["baselines"], fields["tuning"]["multiplier"]),
            *make_baselines(fields["baselines"]),
        ]
        if not optimizers:
            raise errors.UserError("nothing to judge: name a bundle or config.baselines")
        _check_reference(fields)
        suite = make_suite(fields)
        held_out.check(suite, optimizers)
        devices = _devices(fields["workers"])
        with workdir.lock(folder), errors.writing():
            write_config(folder, config)
            _announce(optimizers, suite, plan, len(devices))
            shared = cache.folder("evaluation", fields["cache_dir"])
            store = Store(
                [folder / _PARTS],
                shared=[shared] if shared else [],
                shipped=SHIPPED if fields["tuning"]["use_shipped"] else None,
            )
            total = sum(not x.axis for x in suite) * len(optimizers)
            with EvaluationProgress(total) as progress:
                found = evaluation.evaluate(
                    optimizers,
                    suite,
                    plan,
                    store,
                    devices=devices,
                    progress=lambda judged, seconds: progress.show(_describe(judged, seconds)),
                )
            found.save(folder)
            more = [found.comparisons()] if found.rows("comparisons") else []
            show(found, [found.aggregate(), *more])
            seconds = found.summary["environment"]["seconds"]
            print(
                f"done in {seconds:.0f} s: {folder}; a page of it: lopt report {folder}", flush=True
            )


def make_plan(config: EvaluationConfig) -> Plan:
    """How to judge, from the config.

    Raises:
        UserError: an unknown criterion.
    """
    if config.tuning.criterion not in CRITERIA:
        raise errors.unknown("config.tuning.criterion", config.tuning.criterion, CRITERIA)
    return Plan(
        num_seeds=config.num_seeds,
        num_points=config.num_points,
        valid_batches=config.valid_batches,
        budget=Budget(config.tuning.num_grid, config.tuning.num_random),
        criterion=config.tuning.criterion,
        on_axes=config.tuning.on_axes,
        reference=config.reference,
        seed=config.seed,
    )


def write_config(folder: Path, config: EvaluationConfig) -> None:
    """Write the resolved config; what an earlier evaluation left here is then out of date.

    Raises:
        UserError: the folder holds a meta-training run.
    """
    if (folder / workdir.METRICS).exists() or (folder / workdir.CHECKPOINTS).exists():
        raise errors.UserError(
            f"--workdir={folder} holds a meta-training run; choose another folder, such as "
            f"{folder / 'held_out'}"
        )
    for name in (RESULTS, SUMMARY):
        (folder / name).unlink(missing_ok=True)
    content = json.dumps(config.to_dict(), indent=2, allow_nan=False) + "\n"
    write_atomically(folder / workdir.CONFIG, content.encode())


def show(found: Evaluation, whole: Iterable[Any] = ()) -> None:
    """Print the table, others, and one line for every learned optimizer on every workload."""
    console = Console()
    if not console.is_terminal:
        console = Console(width=_WIDTH)
    for table in (found.table(), *whole):
        console.print(table)
    for name in found.learned:
        print(found.verdict(name), flush=True)


def _check_reference(fields: dict[str, Any]) -> None:
    names, known = fields["reference"], fields["baselines"]
    if names and not set(names) & set(known):
        raise errors.UserError(
            f"config.reference = {names!r} names none of config.baselines ({', '.join(known)}); "
            "name some of them, or () for no target"
        )


def _devices(workers: int | None) -> list[Any]:
    devices = evaluation.default_devices()
    if workers is None:
        return devices
    if jax.default_backend() == "cpu":
        return devices[:1] * workers
    if workers > len(devices):
        raise errors.UserError(f"config.workers = {workers}, but there are {len(devices)} devices")
    return devices[:workers]


def _announce(
    optimizers: Sequence[Optimizer], suite: Sequence[Workload], plan: Plan, workers: int
) -> None:
    learned = [optimizer.name for optimizer in optimizers if optimizer.kind == "learned"]
    tasks = sum(not workload.axis for workload in suite)
    print(
        f"judging {', '.join(learned) or 'no learned optimizer'} and "
        f"{sum(x.kind == 'baseline' for x in optimizers)} baselines on {tasks} tasks and "
        f"{len(suite) - tasks} changes of them, {plan.num_seeds} seeds; a search is of "
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


def _describe(found: Sequence[Judged], seconds: float) -> str:
    first = found[0]
    loss = measure(first.curves.train_loss).mean_loss
    changes = f" and {len(found) - 1} changes" if len(found) > 1 else ""
    return (
        f"{first.workload.label}{changes}  {first.optimizer}: mean loss {loss:.4g} "
        f"({seconds:.1f} s)"
    )
