"""Saving the optimizer at the end of a run, with a card that says where it comes from."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np

import lopt
from launch import configuration
from launch.comparison import best_rows
from launch.configuration import Config
from launch.versions import versions
from launch.workdir import write_json
from meta_train.evaluation import Row

_PACKAGES = ("lopt", "jax", "flax", "optax", "numpy")


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
    config: Config,
    horizon: int,
    meta_step: int,
    valid_loss: float | None,
    rows: Sequence[Row],
) -> dict[str, Any]:
    """Where the optimizer comes from and how it fared, as plain data.

    Args:
        config: complete config of the run.
        horizon: the longest episode, in inner steps.
        meta_step: meta-steps behind this theta.
        valid_loss: its meta-validation, where it was measured.
        rows: the comparison with this theta, empty where there was none.
    """
    return {
        "title": f"{configuration.subject(config)}, meta-trained on {configuration.goal(config)}",
        "horizon": horizon,
        "meta_training": {
            "meta_steps": meta_step,
            "meta_validation_loss": valid_loss,
            "seed": config.seed,
        },
        "config": configuration.flat(config),
        "versions": versions(_PACKAGES),
        "evaluation": [
            {
                "task": row.task,
                "optimizer": row.optimizer,
                "learning_rate": row.learning_rate,
                "mean_loss": row.mean_loss,
                "std_error": row.std_error,
                "final_loss": row.final_loss,
                "num_steps": len(row.curve),
            }
            for members in best_rows(rows).values()
            for row in members
        ],
    }


def _name(path: tuple[Any, ...]) -> str:
    """A leaf's place in the pytree: "layer.0.w"; "theta" where theta is one array."""
    return jax.tree_util.keystr(path, simple=True, separator=".") or "theta"
