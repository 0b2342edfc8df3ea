"""Finding bundles, and saving them with a card: where an optimizer comes from, how it fared."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np

import lopt
from launch import configuration, errors
from launch.workdir import write_json
from lopt import shipped
from lopt.card_limits import LEARNED
from meta_train.evaluation import Evaluation

BUNDLE = "bundle"
"""Where a run keeps its bundle, in its work folder."""
_PRIVATE = ("data_dir",)
"""Fields of the config that are about a machine, and left out of the card."""
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
"""What a card tells of a comparison over all held-out tasks."""


def locate(given: str) -> Path:
    """The folder that a word of the command line means, see ``lopt.shipped.find``.

    Raises:
        UserError: it is neither a folder nor the name of a shipped bundle.
    """
    with errors.reading():
        folder = shipped.find(os.path.expanduser(given))
    if not folder.is_dir():
        raise errors.UserError(f"{folder} is not a folder")
    return folder


def load(given: str) -> tuple[Path, lopt.Bundle]:
    """A bundle and its folder; of a work folder, the one in it.

    Args:
        given: as for ``locate``.

    Raises:
        UserError: there is no bundle, or it is damaged.
    """
    folder = locate(given)
    folder = folder / BUNDLE if (folder / BUNDLE).is_dir() else folder
    with errors.reading():
        return folder, lopt.load_bundle(folder)


def save(
    folder: Path,
    optimizer: lopt.LearnedOptimizer | None,
    theta: Any,
    card: Mapping[str, Any],
) -> None:
    """Export ``theta`` with its optimizer; without one as theta.safetensors and card.json.

    Args:
        folder: is created.
        optimizer: what was meta-trained, None where it was no learned optimizer.
        theta: meta-parameters.
        card: what ``make_card`` returns.
    """
    if optimizer is not None:
        lopt.save(folder, optimizer, theta, card=dict(card))
        return
    from safetensors.numpy import save_file

    folder.mkdir(parents=True, exist_ok=True)
    leaves, _ = jax.tree_util.tree_flatten_with_path(theta)
    named = {_name(path): np.asarray(leaf, order="C") for path, leaf in leaves}
    save_file(named, folder / "theta.safetensors")
    write_json(folder / "card.json", dict(card))


def make_card(
    metadata: Mapping[str, Any],
    horizon: int,
    meta_step: int,
    valid_loss: float | None,
) -> dict[str, Any]:
    """Where the optimizer comes from and how it fared, as plain data.

    Args:
        metadata: of a checkpoint, see ``launch.checkpointing``; what was spent is what had been
            spent then.
        horizon: the longest episode, in inner steps.
        meta_step: meta-steps behind this theta.
        valid_loss: its meta-validation, where it was measured.
    """
    config = configuration.complete(metadata["config"])
    tasks, validation_tasks = (
        [{"label": label, **entry} for label, entry in section.to_dict().items()]
        if config.system.name == "lopt"
        else []
        for section in (config.tasks, config.meta_validation.tasks)
    )
    return {
        "title": f"{configuration.subject(config)}, meta-trained on {configuration.goal(config)}",
        "horizon": horizon,
        "meta_training": {
            "tasks": tasks,
            "validation_tasks": validation_tasks,
            "estimator": config.estimator.name,
            "seed": config.seed,
            "meta_steps": meta_step,
            "meta_validation_loss": valid_loss,
            **_cost(metadata),
        },
        "evaluation": [],
        "config": {
            path: value
            for path, value in configuration.flat(config).items()
            if path not in _PRIVATE
        },
        "versions": metadata["versions"],
    }


class Evaluated(NamedTuple):
    """An evaluation of one learned optimizer, for its card."""

    theta_sha256: str
    """Of the theta that was judged."""
    entries: dict[str, Any]
    """Of the card: in ``evaluation`` this optimizer and the best baseline of every setting."""


def evaluated(found: Evaluation, theta_sha256: str | None = None) -> Evaluated:
    """What a card takes from an evaluation.

    Args:
        found: the evaluation.
        theta_sha256: of the optimizer that the card is about; None where just one is learned.

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
    settings = found.settings[: len(summary["tasks"])]
    for setting, duel in zip(settings, found.verdict(learned).of(settings), strict=True):
        own = measures[setting.label, setting.axis, learned]
        decided = {"optimizer": LEARNED, "outcome": duel.outcome}
        rows.append(_evaluated_row(own, setting.held_out) | decided)
        if duel.best is not None:
            best = measures[setting.label, setting.axis, duel.best.optimizer]
            rows.append(_evaluated_row(best, setting.held_out))
    entries = {
        "evaluation": rows,
        "evaluation_setup": {"inner_steps": summary["num_steps"], "seeds": summary["num_seeds"]},
        "all_held_out_tasks": [
            {name: row[name] for name in _COMPARED}
            for row in found.rows("comparisons")
            if row["optimizer"] == learned
        ],
    }
    return Evaluated(thetas[learned], entries)


def _evaluated_row(measure: Mapping[str, Any], held_out: bool) -> dict[str, Any]:
    fields = ("mean_loss", "std_error", "final_loss", "final_valid_accuracy", "speedup", "diverged")
    return {
        "task": measure["task"],
        "axis": measure["axis"],
        "optimizer": measure["optimizer"],
        **{field: measure[field] for field in fields},
        "held_out": held_out,
    }


def _cost(metadata: Mapping[str, Any]) -> dict[str, Any]:
    """What the run had spent; None where an older checkpoint does not say."""
    records, devices = metadata["records"], metadata.get("devices")
    return {
        "meta_steps_in_all": metadata.get("meta_steps"),
        "inner_steps_in_all": records.get("inner_steps"),
        "seconds_in_all": records["seconds"],
        "devices": devices and f"{devices['count']} x {devices['kind']}",
        "processes": devices and devices["processes"],
    }


def _name(path: tuple[Any, ...]) -> str:
    """A leaf's place in the pytree: "layer.0.w"; "theta" where theta is one array."""
    return jax.tree_util.keystr(path, simple=True, separator=".") or "theta"
