"""Learned optimizers on disk.

A bundle is a folder of three files, none of which can execute code:

    theta.safetensors   the meta-parameters, named by their path in theta, such as "mlp/w0"
    config.json         the optimizer, the horizon, checksums and the card, see bundle_config.py
    README.md           the model card, for people

Whatever else lies in the folder is not looked at.
"""

import hashlib
import itertools
import json
import math
import os
import reprlib
import warnings
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from lopt import buckets, bundle_config, bundle_files, shipped
from lopt import card as model_card
from lopt.base import LearnedOptimizer, Theta
from lopt.bundle_config import listing
from lopt.bundle_files import CONFIG, README, WEIGHTS, in_brief
from lopt.options import with_options

if TYPE_CHECKING:
    from lopt.buckets import Folder

MAX_ELEMENTS = bundle_files.MAX_WEIGHTS_BYTES // 4
"""Numbers in theta; an optimizer with more is refused before any array is made."""
_LIMITS = {CONFIG: bundle_files.MAX_CONFIG_BYTES, WEIGHTS: bundle_files.MAX_WEIGHTS_BYTES}
FAR_BEYOND_HORIZON = 3.0
"""``load`` warns where ``num_steps`` is more than this many times the meta-training horizon."""


class Bundle(NamedTuple):
    """What a bundle holds."""

    optimizer: LearnedOptimizer
    theta: Theta
    card: dict[str, Any]

    def first_theta(self, parts: Sequence[str]) -> Theta:
        """Theta with some parts as the optimizer draws them first, which shows what they are worth.

        Args:
            parts: such as "scalars", or "scalars/step_size".

        Raises:
            ValueError: theta has no such part.
        """
        leaves, structure = jax.tree.flatten_with_path(self.theta)
        first = jax.tree.leaves(self.optimizer.init(jax.random.key(0)))
        names = [jax.tree_util.keystr(path, simple=True, separator="/") for path, _ in leaves]
        # Of "scalars/beta": itself and "scalars".
        within = [set(itertools.accumulate(name.split("/"), "{}/{}".format)) for name in names]
        if unknown := set(parts).difference(*within):
            known = ", ".join(sorted(set[str]().union(*within)))
            raise ValueError(f"theta has no part {', '.join(sorted(unknown))}; it has {known}.")
        return structure.unflatten(
            old if of.isdisjoint(parts) else new
            for of, (_, old), new in zip(within, leaves, first, strict=True)
        )


class HorizonWarning(UserWarning):
    """An optimizer is to be used for trainings much longer than those it was meta-trained on."""


def save(
    path: str | os.PathLike[str],
    optimizer: LearnedOptimizer,
    theta: Theta,
    *,
    card: Mapping[str, Any] | None = None,
) -> None:
    """Write a bundle; an existing bundle at ``path`` is replaced as a whole.

    Args:
        path: folder to create; may be one in a bucket, see ``lopt.buckets``.
        optimizer: instance of a registered class.
        theta: its meta-parameters.
        card: JSON-like facts for the model card. ``horizon``, the number of inner steps that the
            optimizer was meta-trained for, is what ``load`` takes ``num_steps`` from; ``license``,
            an SPDX expression, is the weights' licence, ``lopt.card.DEFAULT_LICENSE`` by default.
            ``lopt.card.render`` describes the others.

    Raises:
        ValueError: if theta is not of the optimizer's kind or not finite, the optimizer is not
            registered, the card is not JSON-like, or ``path`` exists and is not a bundle.
    """
    path = buckets.place(path)
    check_target(path)
    facts = model_card.complete(card or {})
    bundle_config.check_horizon(facts.get("horizon"), "card['horizon']")
    arrays = {key: np.asarray(leaf, order="C") for key, leaf in flatten(theta).items()}
    _check_listing(listing(arrays), _abstract_theta(optimizer, "theta"), optimizer, "theta")
    _check_finite(arrays, "theta")
    weights = bundle_files.serialise(arrays)
    config = bundle_config.make_config(optimizer, arrays, weights, facts)
    count = sum(array.size for array in arrays.values())
    files = {
        WEIGHTS: weights,
        CONFIG: (json.dumps(config, indent=2) + "\n").encode(),
        README: model_card.render(config["optimizer"], count, facts).encode(),
    }
    _check_loadable(files, path)
    bundle_files.write_folder(path, files)


def load(
    path: str | os.PathLike[str],
    num_steps: int | None = None,
    *,
    learning_rate_multiplier: float | int | jax.Array | optax.Schedule = 1.0,
    weight_decay: float | int | jax.Array = 0.0,
    weight_decay_mask: Any = None,
    update_kernel: str = "auto",
) -> optax.GradientTransformationExtraArgs:
    """Load a bundle as an Optax optimizer.

    Nothing in the folder is executed, and no more of it read than the limits in
    ``lopt.bundle_files`` allow.

    Args:
        path: folder written by ``save``, or the name of a bundle that comes with lopt, such as
            "general" (``lopt list bundles``). A bundle in a folder of that name in the current
            directory comes first; "./general" and a ``Path`` always mean a folder. Or an address
            on the Hugging Face Hub, "hf://user/name" or "hf://user/name@revision" (``lopt.hub``),
            or in a bucket, "gs://bucket/folder" (``lopt.buckets``).
        num_steps: horizon T of the training to come, in inner steps; by default the horizon in the
            bundle.
        learning_rate_multiplier: see ``lopt.with_options``, like those below.
        weight_decay: of every step, decoupled.
        weight_decay_mask: where it applies.
        update_kernel: what updates large tensors, "jnp" or "pallas".

    Raises:
        ValueError: if there is no such bundle, it is incomplete, damaged, oversized or of another
            format, or an argument is out of range; the message says which.

    Warns:
        HorizonWarning: ``num_steps`` is far beyond the horizon that the optimizer was meta-trained
            for.
    """
    bundle = load_bundle(path)
    bundle_config.check_horizon(num_steps, "num_steps")
    horizon = bundle.card.get("horizon")
    if num_steps is None:
        num_steps = horizon
    elif horizon is not None and num_steps > FAR_BEYOND_HORIZON * horizon:
        warnings.warn(
            f"{path} was meta-trained for trainings of up to {horizon:,} steps, but num_steps = "
            f"{num_steps:,} is {num_steps / horizon:.1f} times that: what it does then was never "
            "trained for. Compare it with a tuned baseline, or meta-train with a longer horizon.",
            HorizonWarning,
            stacklevel=2,
        )
    return with_options(
        bundle.optimizer.bind(bundle.theta, num_steps),
        learning_rate_multiplier=learning_rate_multiplier,
        weight_decay=weight_decay,
        weight_decay_mask=weight_decay_mask,
        update_kernel=update_kernel,
    )


def load_bundle(path: str | os.PathLike[str]) -> Bundle:
    """Load a bundle's optimizer, meta-parameters and card; raises like ``load``."""
    bundle = read(path)
    return bundle._replace(theta=jax.tree.map(jnp.asarray, bundle.theta))


def read(path: str | os.PathLike[str]) -> Bundle:
    """``load_bundle`` with theta in numpy arrays, for which JAX takes no device."""
    folder = shipped.find(path)
    files = {name: bundle_files.read_file(folder, name, _LIMITS[name]) for name in _LIMITS}
    return _parse(files, folder)


def check_target(path: "Folder") -> None:
    """Raise ``ValueError`` unless ``save`` may write there: nothing is there, or just a bundle."""
    if not path.exists() or (path.is_dir() and not any(path.iterdir())):
        return
    try:
        content = bundle_files.read_file(path, CONFIG, bundle_files.MAX_CONFIG_BYTES)
        bundle_config.check_format(bundle_files.parse_json(content, path / CONFIG), path)
    except ValueError as error:
        raise ValueError(
            f"{path} exists and is not a bundle, so it is not overwritten; choose another path "
            "or remove it."
        ) from error
    others = {entry.name for entry in path.iterdir()} - {WEIGHTS, CONFIG, README}
    if others:
        raise ValueError(
            f"{path} is a bundle, but also holds {', '.join(sorted(others)[:3])}, which saving "
            "would remove; choose another path or move that away."
        )


def flatten(theta: Theta) -> dict[str, Any]:
    """Theta's leaves by name, such as "mlp/w0", in its own order."""
    flat = {}
    for path, leaf in jax.tree.leaves_with_path(theta):
        parts = [str(getattr(entry, "key", getattr(entry, "idx", entry))) for entry in path]
        flat["/".join(parts)] = leaf
    return flat


def _parse(files: Mapping[str, bytes], path: "Folder") -> Bundle:
    """The bundle in the content of its files, after all checks."""
    config = bundle_config.parse_config(files[CONFIG], path)
    digest = hashlib.sha256(files[WEIGHTS]).hexdigest()
    if digest != config["weights_sha256"]:
        raise ValueError(
            f"{path / WEIGHTS} is damaged: its SHA-256 is {digest[:16]!r}..., but {CONFIG} says "
            f"{config['weights_sha256'][:16]!r}...; restore both files from the same export."
        )
    optimizer = bundle_config.make_optimizer(config["optimizer"], path)
    abstract = _abstract_theta(optimizer, path)
    arrays = bundle_files.parse_weights(files[WEIGHTS], path / WEIGHTS)
    _check_listing(listing(arrays), abstract, optimizer, str(path / WEIGHTS))
    if config["theta"] != listing(arrays):
        raise ValueError(f"{path / CONFIG} is damaged: it lists other arrays than {WEIGHTS} holds.")
    _check_finite(arrays, str(path / WEIGHTS))
    leaves = [arrays[key] for key in flatten(abstract)]
    if config.get("theta_sha256") not in (None, bundle_config.theta_sha256(leaves)):
        raise ValueError(
            f"{path / CONFIG} is damaged: its theta_sha256 is not of the theta in {WEIGHTS}."
        )
    theta = jax.tree.unflatten(jax.tree.structure(abstract), leaves)
    return Bundle(optimizer, theta, config["card"])


def _abstract_theta(optimizer: LearnedOptimizer, what: object) -> Any:
    """Shapes of theta; nothing is computed."""
    try:
        abstract = jax.eval_shape(lambda: optimizer.init(jax.random.key(0)))
    except Exception as error:  # whatever absurd fields lead to
        raise ValueError(f"{what}: {optimizer} cannot make theta: {in_brief(error)}") from error
    count = sum(math.prod(leaf.shape) for leaf in jax.tree.leaves(abstract))
    if count > MAX_ELEMENTS:
        raise ValueError(
            f"{what}: theta of {optimizer} would have {count:,} numbers; the limit is "
            f"{MAX_ELEMENTS:,}."
        )
    return abstract


def _check_listing(
    found: Mapping[str, Any], abstract: Any, optimizer: LearnedOptimizer, what: str
) -> None:
    wanted = listing(flatten(abstract))
    for key in sorted(wanted.keys() | found.keys()):
        if wanted.get(key) != found.get(key):
            raise ValueError(
                f"{what} does not fit {optimizer}: {reprlib.repr(key)} is "
                f"{found.get(key, 'missing')}, but should be {wanted.get(key, 'absent')}."
            )


def _check_finite(arrays: Mapping[str, np.ndarray], what: str) -> None:
    for key, array in arrays.items():
        if not np.all(np.isfinite(array)):
            raise ValueError(
                f"{what} holds {key!r} with {np.count_nonzero(~np.isfinite(array))} numbers that "
                "are not finite; take the theta of an earlier meta-step."
            )


def _check_loadable(files: Mapping[str, bytes], path: "Folder") -> None:
    """Raise ``ValueError`` for what ``load_bundle`` would refuse: too large a card, say."""
    for name, limit in _LIMITS.items():
        if len(files[name]) > limit:
            raise ValueError(
                f"{path / name} would have {len(files[name]):,} bytes; the limit is {limit:,}."
            )
    _parse(files, path)
