"""What an evaluation comes to, as plain data: the content of summary.json.

Losses are training losses unless "valid" is said, averaged over seeds; numbers that are not
measured or not finite are None. `target` of a workload is the final loss of the reference baseline
that ends lowest; a speed-up is that baseline's steps (or seconds) to the target over the
optimizer's own. `iqm` is of loss ratios over the held-out tasks, see
``meta_train.evaluation.aggregate``; changes of tasks do not enter it, but `diverged_runs` is of all
workloads. `comparisons` are described in ``meta_train.evaluation.comparisons``.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from meta_train.evaluation import aggregate, measures
from meta_train.evaluation.comparisons import compare
from meta_train.evaluation.costs import Cost
from meta_train.evaluation.judge import Judged, Plan
from meta_train.evaluation.optimizers import Optimizer
from meta_train.evaluation.workload import HELD_OUT, Workload

KIND, FORMAT_VERSION = "lopt-evaluation", 1
TAUS = np.geomspace(1, 10, 101)
"""Factors at which the performance profile is given."""


def summarise(
    suite: Sequence[Workload],
    optimizers: Sequence[Optimizer],
    judged: Sequence[Judged],
    costs: Mapping[str, Cost],
    plan: Plan,
) -> dict[str, Any]:
    """Everything in summary.json but the environment.

    Args:
        suite: tasks and their changes, in the order of the result.
        optimizers: in the order of the result.
        judged: every optimizer on every workload.
        costs: by optimizer.
        plan: how it was judged.
    """
    order = [optimizer.name for optimizer in optimizers]
    table = {(x.label, x.axis): _on(x, order, judged) for x in suite}
    held_out = [(x.label, "") for x in suite if not x.axis and x.set == HELD_OUT]
    names = [name for name in plan.reference if name in order]
    found = {
        "kind": KIND,
        "format_version": FORMAT_VERSION,
        "num_steps": min(x.num_steps for x in suite if not x.axis),
        "num_seeds": plan.num_seeds,
        "reference": names,
        "optimizers": [_optimizer(optimizer) for optimizer in optimizers],
        "tasks": [_workload(x) for x in suite],
        "tuned": [_tuned(x) for row in table.values() for x in row if x.tuned_here and x.tuned[0]],
        "measures": [x for row in table.values() for x in _measures(row, names)],
        "costs": [{"optimizer": name, **_rounded(costs[name]._asdict())} for name in order],
        "aggregate": [
            row | _divergence(x[i] for x in table.values())
            for i, row in enumerate(_aggregate([table[key] for key in held_out], order, names))
        ],
        "profile": _profile([table[key] for key in held_out], order),
    }
    return found | {"comparisons": compare(found)}


def mean_loss(judged: Judged) -> float:
    """Mean training loss over steps and seeds."""
    return measures.measure(judged.curves.train_loss).mean_loss


def number(value: float | None) -> float | None:
    """Six digits; None where JSON has no such number."""
    return float(f"{value:.6g}") if value is not None and np.isfinite(value) else None


def _rounded(values: Mapping[str, float | None]) -> dict[str, float | None]:
    return {name: number(value) for name, value in values.items()}


def _on(workload: Workload, order: Sequence[str], judged: Sequence[Judged]) -> list[Judged]:
    here = {x.optimizer: x for x in judged if x.workload is workload}
    return [here[name] for name in order]


def _optimizer(optimizer: Optimizer) -> dict[str, Any]:
    fields = ("name", "kind", "description", "horizon")
    found = {field: getattr(optimizer, field) for field in fields}
    if optimizer.kind == "learned":
        found["bundle"] = None if optimizer.folder is None else str(optimizer.folder)
        found["theta_sha256"] = optimizer.identity["theta_sha256"]
    return found


def _workload(workload: Workload) -> dict[str, Any]:
    fields = ("label", "name", "fields", "axis", "set", "num_params", "num_steps")
    told = {"held_out": workload.set == HELD_OUT, "declared_num_steps": workload.declared}
    return {field: getattr(workload, field) for field in fields} | told


def _tuned(judged: Judged) -> dict[str, Any]:
    return {
        "task": judged.workload.label,
        "axis": judged.workload.axis,
        "optimizer": judged.optimizer,
        "hyperparameters": _rounded(judged.tuned.hyperparameters),
        "trials": len(judged.tuned.trials),
        "at_edge": judged.tuned.at_edge,
        "from_cache": judged.source != "search",
        "source": judged.source,
    }


def _best(row: Sequence[Judged], reference: Sequence[str], field: str) -> Judged | None:
    """The one of the reference with the lowest finite loss of a kind."""
    losses = {
        x.optimizer: getattr(measures.measure(x.curves.train_loss), field)
        for x in row
        if x.optimizer in reference
    }
    finite = {name: loss for name, loss in losses.items() if np.isfinite(loss)}
    return next((x for x in row if finite and x.optimizer == min(finite, key=finite.__getitem__)),
                None)  # fmt: skip


def _measures(row: Sequence[Judged], reference: Sequence[str]) -> list[dict[str, Any]]:
    best = _best(row, reference, "final_loss")
    target = None if best is None else measures.measure(best.curves.train_loss).final_loss
    return [_measure(judged, best, target) for judged in row]


def _measure(judged: Judged, best: Judged | None, target: float | None) -> dict[str, Any]:
    curves = judged.curves
    found = measures.measure(curves.train_loss)
    steps, seconds = _to_target(judged, target)
    best_steps, best_seconds = (None, None) if best is None else _to_target(best, target)
    numbers = {
        **found._asdict(),
        "final_valid_loss": _mean(curves.valid_loss[:, -1]),
        "final_valid_accuracy": _mean(curves.valid_accuracy[:, -1]),
        "target": target,
        "seconds_to_target": seconds,
        "speedup": _ratio(best_steps, steps),
        "speedup_seconds": _ratio(best_seconds, seconds),
        "microseconds_per_step": 1e6 * float(curves.seconds_per_step),
    }
    return {
        "task": judged.workload.label,
        "axis": judged.workload.axis,
        "optimizer": judged.optimizer,
        "target_optimizer": None if best is None else best.optimizer,
        "steps_to_target": steps,
        **_rounded(numbers),
        "by_seed": {
            "mean_loss": [number(x) for x in measures.mean_losses(curves.train_loss)],
            "final_valid_loss": [number(x) for x in curves.valid_loss[:, -1].tolist()],
        },
    }


def _to_target(judged: Judged, target: float | None) -> tuple[int | None, float | None]:
    steps = None if target is None else measures.steps_to(judged.curves.train_loss, target)
    return steps, None if steps is None else steps * float(judged.curves.seconds_per_step)


def _ratio(one: int | float | None, other: int | float | None) -> float | None:
    return None if one is None or not other else one / other


def _mean(values: np.ndarray) -> float:
    return float(np.mean(values, dtype=np.float64))


def _aggregate(
    rows: Sequence[Sequence[Judged]], order: Sequence[str], reference: Sequence[str]
) -> list[dict[str, Any]]:
    """Over tasks; ratios only over those whose reference has a loss above zero."""
    ratios: dict[str, list[np.ndarray]] = {name: [] for name in order}
    wins = dict.fromkeys(order, 0)
    for row in rows:
        best = _best(row, reference, "mean_loss")
        lowest = min(row, key=mean_loss)
        wins[lowest.optimizer] += bool(np.isfinite(mean_loss(lowest)))
        if best is not None and mean_loss(best) > 0:
            for judged in row:
                losses = measures.mean_losses(judged.curves.train_loss)
                ratios[judged.optimizer].append(losses / mean_loss(best))
    return [_aggregated(name, i, rows, ratios[name], wins) for i, name in enumerate(order)]


def _aggregated(
    name: str,
    position: int,
    rows: Sequence[Sequence[Judged]],
    ratios: Sequence[np.ndarray],
    wins: Mapping[str, int],
) -> dict[str, Any]:
    found: dict[str, float | None] = {"iqm": None, "iqm_low": None, "iqm_high": None}
    if ratios:
        table = np.stack(ratios)
        low, high = aggregate.iqm_interval(table)
        found = {"iqm": float(aggregate.iqm(table.ravel())), "iqm_low": low, "iqm_high": high}
    diverged = [measures.has_diverged(row[position].curves.train_loss) for row in rows]
    found["divergence_rate"] = float(np.mean(diverged)) if rows else None
    return {"optimizer": name, "wins": wins[name], "tasks": len(rows), **_rounded(found)}


def _divergence(row: Iterable[Judged]) -> dict[str, int]:
    """Of one optimizer over all workloads."""
    diverged = np.concatenate([measures.has_diverged(x.curves.train_loss) for x in row])
    return {"diverged_runs": int(diverged.sum()), "runs": len(diverged)}


def _profile(rows: Sequence[Sequence[Judged]], order: Sequence[str]) -> dict[str, Any]:
    """Of mean training losses, over the tasks on which all of them are above zero."""
    losses = np.asarray([[mean_loss(x) for x in row] for row in rows]).reshape(-1, len(order))
    losses = losses[(losses > 0).all(axis=1)]
    by_name = {name: losses[:, i] for i, name in enumerate(order)}
    fractions = aggregate.profile(by_name, TAUS) if len(losses) else {}
    return {
        "taus": [number(tau) for tau in TAUS],
        "fractions": {name: [number(x) for x in row] for name, row in fractions.items()},
    }
