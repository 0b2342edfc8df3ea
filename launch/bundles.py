"""Finding bundles and the optimizers in checkpoints, and saving them with a card."""

import os
from collections.abc import Mapping
from typing import Any, NamedTuple

import jax
import numpy as np
from etils import epath

import lopt
import meta_train
from checkpoints import DamagedError, MismatchError, Store
from configs.base import RunConfig
from launch import errors, user_code, workdir
from launch.build import make_named
from launch.resume import config_of
from lopt import shipped
from lopt.bundle_config import theta_sha256
from meta_train.run import run_folder
from meta_train.run.start import load_theta, spent

BUNDLE = "bundle"
"""Where a run keeps its bundle, in its work folder."""
_PRIVATE = ("data_dir",)
"""Fields of the config that are about a machine, and left out of the card."""


def locate(given: str) -> epath.Path:
    """The folder that a word of the command line means, see ``lopt.shipped.find``.

    Raises:
        UserError: it is neither a folder nor the name of a shipped bundle.
    """
    with errors.mistakes():
        folder = epath.Path(shipped.find(os.path.expanduser(given)))
    if not folder.is_dir():
        raise errors.UserError(f"{folder} is not a folder")
    return folder


def load(given: str) -> tuple[epath.Path, lopt.Bundle]:
    """A bundle and its folder; of a work folder, the one in it.

    Args:
        given: as for ``locate``.

    Raises:
        UserError: there is no bundle, or it is damaged.
    """
    folder = locate(given)
    folder = folder / BUNDLE if (folder / BUNDLE).is_dir() else folder
    with errors.mistakes():
        return folder, lopt.load_bundle(folder)


def save(
    folder: epath.Path,
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
    from safetensors.numpy import save

    folder.mkdir(parents=True, exist_ok=True)
    leaves = jax.tree.leaves_with_path(theta)
    named = {_name(path): np.asarray(leaf, order="C") for path, leaf in leaves}
    (folder / "theta.safetensors").write_bytes(save(named))
    workdir.write_json(folder / "card.json", dict(card))


def make_card(
    config: RunConfig, metadata: Mapping[str, Any], meta_step: int, valid_loss: float | None
) -> dict[str, Any]:
    """Where the optimizer comes from and how it fared, as plain data.

    Args:
        config: of the run.
        metadata: of a checkpoint, see ``meta_train.run.Run.metadata``; what was spent is what had
            been spent then.
        meta_step: meta-steps behind this theta.
        valid_loss: its meta-validation, where it was measured.
    """
    tasks, validation_tasks = (
        [{"label": label, **entry.to_dict()} for label, entry in section.items()]
        if config.system.name == "lopt"
        else []
        for section in (config.tasks, config.meta_validation.tasks)
    )
    return {
        "title": f"{config.subject}, meta-trained on {config.goal}",
        "horizon": meta_train.make_horizon(config.estimator.horizon).max,
        "meta_training": {
            "tasks": tasks,
            "validation_tasks": validation_tasks,
            "estimator": config.estimator.name,
            "seed": config.seed,
            "meta_steps": meta_step,
            "meta_validation_loss": valid_loss,
            **spent(metadata),
        },
        "evaluation": [],
        "config": {path: value for path, value in config.flat().items() if path not in _PRIVATE},
        "versions": metadata["versions"],
    }


class Source(NamedTuple):
    """A learned optimizer in a checkpoint, and what is known of it."""

    meta_step: int
    metadata: Mapping[str, Any]
    config: RunConfig
    optimizer: lopt.LearnedOptimizer
    theta: Any
    valid_loss: float | None


def find(folder: epath.Path, step: int | None, sha256: str | None = None) -> Source:
    """The optimizer in the newest whole checkpoint of a run, after all its checksums.

    Args:
        folder: work folder of the run.
        step: take the checkpoint after this meta-step.
        sha256: take one whose theta has this checksum, see ``lopt.bundle_config.theta_sha256``.

    Raises:
        UserError: there is no such checkpoint, or it is damaged or not of a learned optimizer.
    """
    store = Store(folder / run_folder.CHECKPOINTS)
    numbers = store.numbers()
    if not numbers:
        raise errors.UserError(f"{folder} holds no checkpoints of a run, so there is no theta yet")
    if step is not None and step not in numbers:
        kept = ", ".join(map(str, numbers))
        raise errors.UserError(f"{folder} has no checkpoint --step={step}; it has {kept}")
    others = []
    for number in reversed(numbers) if step is None else [step]:
        try:
            source = _read(store, number)
        except DamagedError as error:
            print(f"checkpoint {store.folder / str(number)} is damaged: {error}")
            continue
        if sha256 in (None, theta_sha256(jax.tree.leaves(source.theta))):
            return source
        others.append(str(number))
    if others:
        raise errors.UserError(
            f"--evaluation is of another theta (SHA-256 {sha256}) than {folder} has after "
            f"meta-step {' or '.join(others)}; evaluate what is to be exported"
        )
    which = "all checkpoints" if step is None else f"checkpoint {step}"
    raise errors.UserError(f"{which} in {store.folder}: damaged; `lopt inspect {folder}` tells why")


def _read(store: Store, number: int) -> Source:
    where, step = store.folder / str(number), store.read(number)
    config = config_of(step)
    if config.system.name != "lopt":
        raise errors.UserError(
            f"{where} holds the theta of config.system.name = {config.system.name!r}, which is no "
            "learned optimizer; its folder bundle/ has it as plain arrays at the end of the run"
        )
    user_code.import_all(config.imports)
    optimizer = make_named(lopt.LOPTS, "optimizer", config.optimizer)
    wanted = f"the theta of this version's {config.optimizer.name}"
    with errors.mistakes(f"{where} does not hold {wanted}: ", MismatchError):
        theta = load_theta(store, step, jax.eval_shape(optimizer.init, jax.random.key(0)))
    return Source(number, step.metadata, config, optimizer, theta, step.score)


def _name(path: tuple[Any, ...]) -> str:
    """A leaf's place in the pytree: "layer.0.w"; "theta" where theta is one array."""
    return jax.tree_util.keystr(path, simple=True, separator=".") or "theta"
