"""What a model card admits: where the optimizer was not trained, not measured, or not better."""

from collections.abc import Mapping
from typing import Any

LEARNED = "learned"
"""What the optimizer of the bundle is called in the rows of its evaluation."""


def limits(card: Mapping[str, Any]) -> list[str]:
    """Sentences that follow from a card.

    Args:
        card: plain JSON data, see ``lopt.card.render``. Entries of other kinds than described
            there count as missing.
    """
    training = card.get("meta_training")
    return [
        _of_horizon(card.get("horizon")),
        _of_tasks(training.get("tasks") if isinstance(training, Mapping) else None),
        "Its meta-parameters are those of one meta-training run; another seed gives another "
        "optimizer, which may be better or worse.",
        *_of_evaluation(_rows(card.get("evaluation"))),
    ]


def _of_horizon(horizon: Any) -> str:
    if not horizon:
        return "It is not stated how long the trainings were that it was meta-trained on."
    return f"Trainings of more than {horizon} steps are extrapolation."


def _of_tasks(tasks: Any) -> str:
    labels = [str(task["label"]) for task in _rows(tasks) if "label" in task]
    if not labels:
        return "It is not stated which tasks it was meta-trained on."
    return f"It was meta-trained on {_listed(labels)} alone; every other task is extrapolation."


def _of_evaluation(rows: list[Mapping[str, Any]]) -> list[str]:
    learned = {_setting(row): row for row in rows if row.get("optimizer") == LEARNED}
    best: dict[str, float] = {}
    for row in rows:
        setting, loss = _setting(row), _loss(row)
        if row.get("optimizer") != LEARNED and loss is not None:
            best[setting] = min(loss, best.get(setting, loss))
    compared = [setting for setting in learned if setting in best]
    if not compared:
        return ["It has not been compared with any other optimizer."]
    behind = [s for s in compared if not _is_below(_loss(learned[s]), best[s])]
    diverged = [s for s in learned if learned[s].get("diverged") or _loss(learned[s]) is None]
    sentences = [
        f"In {len(behind)} of {len(compared)} settings the best baseline has the lower mean loss"
        + (f": {_listed(behind)}." if behind else "; other settings may differ.")
    ]
    if diverged:
        sentences.append(f"Some of its trainings diverged in {_listed(diverged)}.")
    if not any(row.get("held_out") for row in learned.values()):
        sentences.append(
            "No task of the evaluation was held out from meta-training: it does not show how the "
            "optimizer does on others."
        )
    return [
        *sentences,
        "Losses are compared after equal numbers of steps; one of its steps takes more time and "
        "memory than one of Adam.",
    ]


def _rows(entry: Any) -> list[Mapping[str, Any]]:
    return [row for row in entry if isinstance(row, Mapping)] if isinstance(entry, list) else []


def _setting(row: Mapping[str, Any]) -> str:
    """A task, and what is changed of it."""
    return f"{row.get('task')} ({row['axis']})" if row.get("axis") else str(row.get("task"))


def _loss(row: Mapping[str, Any]) -> float | None:
    loss = row.get("mean_loss")
    return loss if isinstance(loss, int | float) and not isinstance(loss, bool) else None


def _is_below(loss: float | None, other: float) -> bool:
    return loss is not None and loss < other


def _listed(names: list[str]) -> str:
    return ", ".join(names).replace("\n", " ")
