"""Learned optimizers on disk.

A bundle is a folder of three files, none of which can execute code:

    theta.safetensors   the meta-parameters, named by their path in theta, such as "mlp/w0"
    config.json         format version, the optimizer's name and fields, the names, shapes and
                        dtypes of theta, the SHA-256 of the weights, the horizon and the card
    README.md           the model card, for people
"""

import dataclasses
import difflib
import hashlib
import json
import os
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from lopt import card as model_card
from lopt.base import LOPTS, LearnedOptimizer, Theta

FORMAT = "lopt-bundle"
FORMAT_VERSION = 1
WEIGHTS, CONFIG, README = "theta.safetensors", "config.json", "README.md"


class Bundle(NamedTuple):
    """What a bundle holds."""

    optimizer: LearnedOptimizer
    theta: Theta
    card: dict[str, Any]


def save(
    path: str | os.PathLike[str],
    optimizer: LearnedOptimizer,
    theta: Theta,
    *,
    card: Mapping[str, Any] | None = None,
) -> None:
    """Write a bundle; an existing bundle at ``path`` is replaced as a whole.

    Args:
        path: folder to create.
        optimizer: instance of a registered class.
        theta: its meta-parameters.
        card: JSON-like facts for the model card; ``horizon``, the number of inner steps that the
            optimizer was meta-trained for, is what ``load`` takes ``num_steps`` from.

    Raises:
        ValueError: if theta is not of the optimizer's kind, the optimizer is not registered, the
            card is not JSON-like, or ``path`` exists and is not a bundle.
    """
    from safetensors.numpy import save as serialise

    path = Path(path)
    _check_target(path)
    name = _registered_name(optimizer)
    arrays = {key: np.asarray(leaf, order="C") for key, leaf in _flatten(theta).items()}
    listing = _listing(arrays)
    _check_listing(listing, optimizer, "theta")
    facts = model_card.to_json(card or {})
    weights = serialise(arrays)
    config = {
        "format": FORMAT,
        "format_version": FORMAT_VERSION,
        "optimizer": {"name": name, "fields": dataclasses.asdict(optimizer)},
        "theta": listing,
        "theta_sha256": hashlib.sha256(weights).hexdigest(),
        "horizon": _checked_horizon(facts.get("horizon"), "card['horizon']"),
        "card": facts,
    }
    count = sum(leaf.size for leaf in arrays.values())
    _write_folder(
        path,
        {
            WEIGHTS: weights,
            CONFIG: (json.dumps(config, indent=2) + "\n").encode(),
            README: model_card.render(name, config["optimizer"]["fields"], count, facts).encode(),
        },
    )


def load(
    path: str | os.PathLike[str], num_steps: int | None = None
) -> optax.GradientTransformationExtraArgs:
    """Load a bundle as an Optax optimizer.

    Args:
        path: folder written by ``save``.
        num_steps: horizon T of the training to come; by default the horizon in the bundle.

    Raises:
        ValueError: if the bundle is incomplete, damaged or of another format; the message says
            which.
    """
    bundle = load_bundle(path)
    if num_steps is None:
        num_steps = bundle.card.get("horizon")
    return bundle.optimizer.bind(bundle.theta, num_steps)


def load_bundle(path: str | os.PathLike[str]) -> Bundle:
    """Load a bundle's optimizer, meta-parameters and card; raises like ``load``."""
    path = Path(path)
    config = _read_config(path)
    try:
        weights = (path / WEIGHTS).read_bytes()
    except OSError as error:
        raise ValueError(f"{path} has no readable {WEIGHTS}: {error}") from error
    digest = hashlib.sha256(weights).hexdigest()
    if digest != config["theta_sha256"]:
        raise ValueError(
            f"{path / WEIGHTS} is damaged: its SHA-256 is {digest[:16]}..., but {CONFIG} says "
            f"{str(config['theta_sha256'])[:16]}...; restore both files from the same export."
        )
    optimizer = _make_optimizer(config["optimizer"], path)
    arrays = _deserialise(weights, path)
    _check_listing(_listing(arrays), optimizer, str(path / WEIGHTS))
    if _listing(arrays) != config["theta"]:
        raise ValueError(f"{path / CONFIG} lists other arrays than {WEIGHTS} holds.")
    abstract = jax.eval_shape(optimizer.init, jax.random.key(0))
    leaves = [jnp.asarray(arrays[key]) for key in _flatten(abstract)]
    theta = jax.tree.unflatten(jax.tree.structure(abstract), leaves)
    _checked_horizon(config["card"].get("horizon"), f"the horizon in {path / CONFIG}")
    return Bundle(optimizer, theta, config["card"])


def _flatten(theta: Theta) -> dict[str, Any]:
    """Leaves by name, in theta's own order."""
    flat = {}
    for path, leaf in jax.tree.leaves_with_path(theta):
        parts = [str(getattr(entry, "key", getattr(entry, "idx", entry))) for entry in path]
        flat["/".join(parts)] = leaf
    return flat


def _listing(arrays: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    return {
        key: {"shape": list(leaf.shape), "dtype": str(leaf.dtype)} for key, leaf in arrays.items()
    }


def _check_listing(
    listing: dict[str, dict[str, Any]], optimizer: LearnedOptimizer, what: str
) -> None:
    wanted = _listing(_flatten(jax.eval_shape(optimizer.init, jax.random.key(0))))
    for key in sorted(wanted.keys() | listing.keys()):
        if wanted.get(key) != listing.get(key):
            raise ValueError(
                f"{what} does not fit {optimizer}: {key!r} is {listing.get(key, 'missing')}, but "
                f"should be {wanted.get(key, 'absent')}."
            )


def _registered_name(optimizer: LearnedOptimizer) -> str:
    for name, kind in LOPTS.items():
        if type(optimizer) is kind:
            return name
    raise ValueError(
        f"{type(optimizer).__name__} is not registered, so it could not be loaded again; add it "
        "to lopt.LOPTS under a name."
    )


def _checked_horizon(horizon: Any, what: str) -> int | None:
    if horizon is None or (type(horizon) is int and horizon > 0):
        return horizon
    raise ValueError(f"{what} = {horizon!r} must be a positive whole number of inner steps.")


def _check_target(path: Path) -> None:
    if not path.exists() or (path.is_dir() and not any(path.iterdir())):
        return
    try:
        _read_config(path, any_version=True)
    except ValueError as error:
        raise ValueError(
            f"{path} exists and is not a bundle, so it is not overwritten; choose another path "
            "or remove it."
        ) from error


def _read_config(path: Path, *, any_version: bool = False) -> dict[str, Any]:
    if not (path / CONFIG).is_file():
        raise ValueError(f"{path} is not a bundle: it has no {CONFIG}.")
    try:
        config = json.loads((path / CONFIG).read_bytes())
    except (OSError, ValueError, RecursionError) as error:
        raise ValueError(f"{path / CONFIG} is damaged: {error}") from error
    if not isinstance(config, dict) or config.get("format") != FORMAT:
        raise ValueError(f"{path} is not a bundle: {CONFIG} does not say format = {FORMAT!r}.")
    if config.get("format_version") != FORMAT_VERSION and not any_version:
        raise ValueError(
            f"{path} has format version {config.get('format_version')!r}, but this library reads "
            f"version {FORMAT_VERSION}; use the release of lopt that wrote it."
        )
    kinds = {"optimizer": dict, "theta": dict, "theta_sha256": str, "card": dict}
    for key, kind in kinds.items():
        if not isinstance(config.get(key), kind) and not any_version:
            raise ValueError(f"{path / CONFIG} is damaged: {key!r} is missing or of a wrong kind.")
    return config


def _make_optimizer(entry: dict[str, Any], path: Path) -> LearnedOptimizer:
    name, fields = entry.get("name"), entry.get("fields")
    if not isinstance(name, str) or name not in LOPTS:
        near = difflib.get_close_matches(str(name), LOPTS, 3, 0.0)
        raise ValueError(
            f"{path} holds an optimizer {name!r} that is not registered; the nearest names are "
            f"{', '.join(near)}. Import the code that registers it in lopt.LOPTS first."
        )
    if not isinstance(fields, dict):
        raise ValueError(f"{path / CONFIG} is damaged: the optimizer's fields are missing.")
    known = {field.name for field in dataclasses.fields(LOPTS[name])}
    if fields.keys() != known:
        raise ValueError(
            f"{path} was written for another version of {name!r}: its fields differ in "
            f"{sorted(fields.keys() ^ known)}."
        )
    try:
        return LOPTS[name](**{key: _to_tuple(field) for key, field in fields.items()})
    except (TypeError, OverflowError) as error:
        raise ValueError(f"{path / CONFIG} holds wrong fields for {name!r}: {error}") from error


def _to_tuple(field: Any) -> Any:
    return tuple(_to_tuple(x) for x in field) if isinstance(field, list) else field


def _deserialise(weights: bytes, path: Path) -> dict[str, np.ndarray]:
    from safetensors import SafetensorError
    from safetensors.numpy import load as deserialise

    try:
        return deserialise(weights)
    except (SafetensorError, KeyError, ValueError) as error:
        raise ValueError(f"{path / WEIGHTS} is not a safetensors file: {error}") from error


def _write_folder(path: Path, files: Mapping[str, bytes]) -> None:
    """Write a folder under a temporary name and then rename it into place."""
    path = path.absolute()
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{path.name}.", dir=path.parent) as scratch:
        new, old = Path(scratch) / "new", Path(scratch) / "old"
        new.mkdir()
        for name, content in files.items():
            with open(new / name, "wb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
        if path.exists():
            os.rename(path, old)
        try:
            os.rename(new, path)
        except OSError:
            if old.exists():
                os.rename(old, path)
            raise
