"""What an evaluation comes to, as plain data: the content of summary.json.

Losses are training losses unless "valid" is said, averaged over seeds; numbers that are not
measured or not finite are None. `target` of a workload is the final loss of the reference baseline
that ends lowest; a speed-up is that baseline's steps (or seconds) to the target over the
optimizer's own. `iqm` is of loss ratios over the held-out tasks, see
``meta_train.evaluation.comparisons``; changes of tasks do not enter it, but `diverged_runs` is of
all workloads. `costs` is there where an evaluation was given them (``Evaluation.with_costs``).
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from meta_train.evaluation import aggregate, comparisons
from meta_train.evaluation.comparisons import Row
from meta_train.evaluation.judge import Judged, Plan
from meta_train.evaluation.measures import measure, number
from meta_train.evaluation.optimizers import Optimizer
from meta_train.evaluation.workload import HELD_OUT, Workload

KIND, FORMAT_VERSION = "lopt-evaluation", 1
TAUS = np.geomspace(1, 10, 101)
"""Factors at which the performance profile is given."""


def summarise(
    suite: Sequence[Workload],
    optimizers: Sequence[Optimizer],
    judged: Sequence[Judged],
    plan: Plan,
) -> dict[str, Any]:
    """Everything in summary.json but the environment and costs.

    Args:
        suite: tasks and their changes, in the order of the result.
        optimizers: in the order of the result.
        judged: every optimizer on every workload.
        plan: how it was judged.
    """
    order = [optimizer.name for optimizer in optimizers]
    reference = [name for name in plan.reference if name in order]
    by_place = {(x.workload.label, x.workload.axis, x.optimizer): x for x in judged}
    sorted_ = [[by_place[x.label, x.axis, name] for name in order] for x in suite]
    rows = [row for here in sorted_ for row in _rows(here, reference)]
    labels = [x.label for x in suite if not x.axis and x.set == HELD_OUT]
    found = {
        "kind": KIND,
        "format_version": FORMAT_VERSION,
        "num_steps": min(x.num_steps for x in suite if not x.axis),
        "num_seeds": plan.num_seeds,
        "reference": reference,
        "optimizers": [_optimizer(optimizer) for optimizer in optimizers],
        "tasks": [_workload(x) for x in suite],
        "tuned": [_tuned(x) for here in sorted_ for x in here if x.tuned_here and x.tuned[0]],
        "measures": rows,
        "aggregate": _aggregate(rows, labels, order, reference, plan.num_seeds),
        "profile": _profile(rows, labels, order),
    }
    return found | {"comparisons": comparisons.compare(found)}


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


def _place(judged: Judged) -> dict[str, str]:
    workload = judged.workload
    return {"task": workload.label, "axis": workload.axis, "optimizer": judged.optimizer}


def _tuned(judged: Judged) -> dict[str, Any]:
    values = judged.tuned.hyperparameters.items()
    return _place(judged) | {
        "hyperparameters": {name: number(value) for name, value in values},
        "trials": len(judged.tuned.trials),
        "at_edge": judged.tuned.at_edge,
        "from_cache": judged.source != "search",
        "source": judged.source,
    }


def _rows(here: Sequence[Judged], reference: Sequence[str]) -> list[dict[str, Any]]:
    """The measures of all optimizers on one workload."""
    measured = measure({x.optimizer: x.curves for x in here}, reference)
    return [_place(x) | measured[x.optimizer] for x in here]


def _aggregate(
    rows: Sequence[Row],
    labels: Sequence[str],
    order: Sequence[str],
    reference: Sequence[str],
    num_seeds: int,
) -> list[dict[str, Any]]:
    """Every optimizer over the held-out tasks, and how many of all its runs diverged."""
    by_place = comparisons.by_place(rows)
    winners = [_winner([by_place[label, "", name] for name in order]) for label in labels]
    found = []
    for name in order:
        pairs = comparisons.pair_up(by_place, labels, name, reference, "mean_loss")
        diverged = [row["diverged"] for row in rows if row["optimizer"] == name]
        held_out = [by_place[label, "", name]["diverged"] for label in labels]
        row = {
            "optimizer": name,
            "wins": winners.count(name),
            "tasks": len(labels),
            **comparisons.interquartile(comparisons.ratios(pairs, "mean_loss")),
            "divergence_rate": float(np.mean(held_out)) if held_out else None,
            "diverged_runs": round(sum(diverged) * num_seeds),
            "runs": len(diverged) * num_seeds,
        }
        found.append({x: number(y) if isinstance(y, float) else y for x, y in row.items()})
    return found


def _winner(rows: Sequence[Row]) -> str | None:
    """The optimizer with the lowest mean loss; None where all of them diverged."""
    finite = [row for row in rows if row["mean_loss"] is not None]
    return min(finite, key=lambda row: row["mean_loss"])["optimizer"] if finite else None


def _profile(rows: Sequence[Row], labels: Sequence[str], order: Sequence[str]) -> Mapping[str, Any]:
    """Of mean training losses, over the tasks on which all of them are above zero."""
    losses = {(row["task"], row["axis"], row["optimizer"]): row["mean_loss"] for row in rows}
    table = np.asarray([[losses[label, "", name] for name in order] for label in labels], float)
    table = np.where(np.isnan(table), np.inf, table).reshape(-1, len(order))
    table = table[(table > 0).all(axis=1)]
    by_name = dict(zip(order, table.T, strict=True))
    fractions = aggregate.profile(by_name, TAUS) if len(table) else {}
    return {
        "taus": [number(float(tau)) for tau in TAUS],
        "fractions": {name: [number(float(x)) for x in row] for name, row in fractions.items()},
    }
