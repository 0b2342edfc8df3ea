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
    behind, unclear, ahead = (
        [setting for setting, row in learned.items() if row.get("outcome") == outcome]
        for outcome in ("higher", "unclear", "lower")
    )
    if not behind + unclear + ahead:
        return ["It is not recorded whether it is better than any other optimizer."]
    diverged = [
        s for s in learned if learned[s].get("diverged") or learned[s].get("mean_loss") is None
    ]
    sentences = [
        f"In {len(behind)} of {len(behind + unclear + ahead)} settings the best baseline has the "
        "lower mean loss" + (f": {_listed(behind)}." if behind else "; other settings may differ.")
    ]
    if unclear:
        sentences.append(f"In {len(unclear)} there is no clear difference: {_listed(unclear)}.")
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


def _listed(names: list[str]) -> str:
    return ", ".join(names).replace("\n", " ")
