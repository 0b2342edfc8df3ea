"""What an evaluation contributes to the model card of an optimizer that was judged."""

from collections.abc import Mapping
from typing import Any, NamedTuple

from lopt.card_limits import LEARNED
from meta_train.evaluation.evaluation import Evaluation

_MEASURED = (
    "mean_loss",
    "std_error",
    "final_loss",
    "final_valid_accuracy",
    "speedup",
    "diverged",
)
_COMPARED = (
    "to",
    "measure",
    "iqm",
    "iqm_low",
    "iqm_high",
    "better",
    "tasks",
    "worst",
    "worst_task",
)


class Judged(NamedTuple):
    """An evaluation of one learned optimizer, for its card."""

    theta_sha256: str
    """The checksum of the theta that was judged, see ``lopt.bundle_config.theta_sha256``."""
    entries: dict[str, Any]
    """Entries of the card; ``evaluation`` has this optimizer and the best baseline by setting."""


def judged(found: Evaluation, theta_sha256: str | None = None) -> Judged:
    """What a card takes from an evaluation.

    Args:
        found: the evaluation.
        theta_sha256: which optimizer the card is about; None where just one is learned.

    Raises:
        ValueError: it is of several learned optimizers, and none of them is named.
    """
    summary = found.summary
    thetas = {x["name"]: x["theta_sha256"] for x in summary["optimizers"] if x["kind"] == "learned"}
    chosen = [name for name, theta in thetas.items() if theta == theta_sha256] or list(thetas)
    if len(chosen) != 1:
        raise ValueError(
            f"it is of {len(thetas)} learned optimizers, and none is the exported one; evaluate it"
        )
    (learned,), rows = chosen, []
    measures = {(x["task"], x["axis"], x["optimizer"]): x for x in summary["measures"]}
    duels = found.verdict(learned).duels.items()
    for _, (setting, duel) in zip(summary["tasks"], duels, strict=True):
        own = measures[setting.label, setting.axis, learned]
        rows.append(_row(own, LEARNED, setting.held_out) | {"outcome": duel.outcome})
        if duel.best is not None:
            best = measures[setting.label, setting.axis, duel.best.optimizer]
            rows.append(_row(best, duel.best.optimizer, setting.held_out))
    compared = [x for x in found.rows("comparisons") if x["optimizer"] == learned]
    entries = {
        "evaluation": rows,
        "evaluation_setup": {"inner_steps": summary["num_steps"], "seeds": summary["num_seeds"]},
        "all_held_out_tasks": [{name: row[name] for name in _COMPARED} for row in compared],
    }
    return Judged(thetas[learned], entries)


def _row(measure: Mapping[str, Any], optimizer: str, held_out: bool) -> dict[str, Any]:
    place = {"task": measure["task"], "axis": measure["axis"], "optimizer": optimizer}
    return {**place, **{name: measure[name] for name in _MEASURED}, "held_out": held_out}
