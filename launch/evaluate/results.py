"""The files of an evaluation: config.json, results.csv and summary.json."""

import csv
import io
import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from launch import errors, workdir
from launch.configuration import Config
from launch.evaluate.judge import Judged, Plan
from launch.evaluate.store import write_atomically
from meta_train.evaluation import measures

RESULTS, SUMMARY = "results.csv", "summary.json"
COLUMNS = (
    "task",
    "axis",
    "optimizer",
    "seed",
    "step",
    "train_loss",
    "valid_loss",
    "valid_accuracy",
)


def write_config(folder: Path, config: Config) -> None:
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
    _write_json(folder / workdir.CONFIG, config.to_dict())


def write(folder: Path, summary: Mapping[str, Any], judged: Sequence[Judged], plan: Plan) -> None:
    """Write the table and then, as the sign that all is there, the summary."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(COLUMNS)
    for one in judged:
        writer.writerows(_rows(one, plan))
    write_atomically(folder / RESULTS, text.getvalue().encode())
    _write_json(folder / SUMMARY, summary)


def _rows(judged: Judged, plan: Plan) -> Iterator[tuple]:
    """A row per recorded point; before the first step the loss of the first batch.

    The training loss at a point is the mean since the point before.
    """
    curves, setting = judged.curves, judged.setting
    span = plan.span(setting.num_steps)
    points = range(span, setting.num_steps + 1, span)
    train = measures.at_points(curves.train_loss, points)
    has_accuracy = not np.isnan(curves.valid_accuracy).all()
    for seed in range(plan.num_seeds):
        first = (setting.label, setting.axis, judged.optimizer, seed)
        yield (*first, 0, _text(curves.train_loss[seed, 0]), "", "")
        for i, step in enumerate(points):
            accuracy = _text(curves.valid_accuracy[seed, i]) if has_accuracy else ""
            losses = (_text(train[seed, i]), _text(curves.valid_loss[seed, i]))
            yield (*first, step, *losses, accuracy)


def _text(value: float) -> str:
    return f"{value:.6g}"


def _write_json(path: Path, value: Any) -> None:
    write_atomically(path, (json.dumps(value, indent=2, allow_nan=False) + "\n").encode())
