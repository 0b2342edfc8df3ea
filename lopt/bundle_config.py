"""``config.json`` of a bundle: what stands in it, and the way from it to an optimizer.

    format, format_version    "lopt-bundle", 3
    lopt_version              release that wrote it; null for a checkout
    optimizer                 name in ``lopt.LOPTS``, fields, version of its features
    theta                     shape and dtype of every array, by name
    theta_sha256              of theta's leaves, see ``theta_sha256``: what all commands say
    weights_sha256            of the file theta.safetensors
    horizon                   longest inner training in meta-training, in steps
    card                      facts for people: licence, meta-training and its cost, evaluation, ...
    config_sha256             of everything above, as ``checksum`` writes it down

Earlier versions are still read. In versions 1 and 2 ``theta_sha256`` was what ``weights_sha256`` is
now. Version 1 had neither ``config_sha256`` nor ``lopt_version`` nor the features' version, which
was 1 for every optimizer.
"""

import dataclasses
import difflib
import hashlib
import importlib.metadata
import json
import reprlib
import sys
import types
import typing
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from lopt.base import LOPTS, LearnedOptimizer
from lopt.bundle_files import CONFIG, in_brief, parse_json

if TYPE_CHECKING:
    from lopt.buckets import Folder

FORMAT = "lopt-bundle"
FORMAT_VERSION = 3
MAX_FIELD_VALUES = 100
"""Numbers and texts in all fields of an optimizer: each layer has one, and time to compile."""
MAX_FIELD_INTEGER = 10**6
MAX_FIELD_CHARACTERS = 1000

_KINDS = {
    "optimizer": dict,
    "theta": dict,
    "theta_sha256": str,
    "horizon": int | None,
    "card": dict,
}


def make_config(
    optimizer: LearnedOptimizer,
    arrays: Mapping[str, np.ndarray],
    weights: bytes,
    card: Mapping[str, Any],
) -> dict[str, Any]:
    """The content of config.json.

    Args:
        optimizer: instance of a registered class.
        arrays: theta's leaves by name, in flattened order.
        weights: the content of theta.safetensors.
        card: plain JSON data.

    Raises:
        ValueError: the optimizer's class is not registered.
    """
    config = {
        "format": FORMAT,
        "format_version": FORMAT_VERSION,
        "lopt_version": _lopt_version(),
        "optimizer": {
            "name": _registered_name(optimizer),
            "fields": dataclasses.asdict(optimizer),
            "feature_version": optimizer.feature_version,
        },
        "theta": listing(arrays),
        "theta_sha256": theta_sha256(arrays.values()),
        "weights_sha256": hashlib.sha256(weights).hexdigest(),
        "horizon": card.get("horizon"),
        "card": dict(card),
    }
    return config | {"config_sha256": checksum(config)}


def listing(arrays: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """Shape and dtype of every array, by name."""
    return {
        key: {"shape": list(leaf.shape), "dtype": str(leaf.dtype)} for key, leaf in arrays.items()
    }


def theta_sha256(leaves: Iterable[Any]) -> str:
    """SHA-256 of a theta, by which commands and files tell whether they speak of the same one.

    Args:
        leaves: its arrays in the order of ``jax.tree.leaves``, hashed one after another as float32.
    """
    digest = hashlib.sha256()
    for leaf in leaves:
        digest.update(np.ascontiguousarray(leaf, dtype=np.float32).tobytes())
    return digest.hexdigest()


def checksum(config: Mapping[str, Any]) -> str:
    """SHA-256 over all entries but itself, as JSON with sorted keys."""
    content = {key: entry for key, entry in config.items() if key != "config_sha256"}
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def parse_config(content: bytes, path: "Folder") -> dict[str, Any]:
    """The content of config.json after every check that needs no other file.

    ``theta_sha256`` is missing where an earlier version had none.

    Args:
        content: of the file.
        path: of the bundle, for errors.

    Raises:
        ValueError: it is no bundle's, of another format version, or damaged.
    """
    where = path / CONFIG
    config = parse_json(content, where)
    check_format(config, path)
    version = config.get("format_version")
    if type(version) is not int or not 1 <= version <= FORMAT_VERSION:
        raise ValueError(
            f"{path} has format version {reprlib.repr(version)}, but this library reads versions "
            f"1 to {FORMAT_VERSION}; use the release of lopt that wrote it."
        )
    if version >= 2 and config.get("config_sha256") != checksum(config):
        raise ValueError(
            f"{where} is damaged: its config_sha256 is not that of its content; get it anew, or "
            "write changes with lopt.save."
        )
    for key, kind in (_KINDS | ({"weights_sha256": str} if version >= 3 else {})).items():
        if key not in config or not isinstance(config[key], kind):
            raise ValueError(f"{where} is damaged: {key!r} is missing or of a wrong kind.")
    check_horizon(config["horizon"], f"the horizon in {where}")
    if config["horizon"] != config["card"].get("horizon"):
        raise ValueError(f"{where} is damaged: its card has another horizon.")
    if version < 3:
        config["weights_sha256"] = config.pop("theta_sha256")
    return config


def check_format(config: Mapping[str, Any], path: "Folder") -> None:
    """Raise ``ValueError`` unless this is the config.json of a bundle of any version."""
    if config.get("format") != FORMAT:
        raise ValueError(f"{path} is not a bundle: {CONFIG} does not say format = {FORMAT!r}.")


def check_horizon(horizon: Any, what: str) -> None:
    """Raise ``ValueError`` unless this is a number of inner steps, or None."""
    if horizon is not None and (type(horizon) is not int or horizon < 1):
        raise ValueError(
            f"{what} = {reprlib.repr(horizon)} must be a positive whole number of inner steps."
        )


def make_optimizer(entry: Mapping[str, Any], path: "Folder") -> LearnedOptimizer:
    """The optimizer that config.json names.

    Args:
        entry: its entry "optimizer".
        path: of the bundle, for errors.

    Raises:
        ValueError: an unknown name, another version of its features, or fields that are unknown,
            missing, of a wrong type or out of bounds.
    """
    name, fields = entry.get("name"), entry.get("fields")
    if not isinstance(name, str) or name not in LOPTS:
        near = difflib.get_close_matches(str(name)[:100], LOPTS, 3, 0.0)
        raise ValueError(
            f"{path} holds an optimizer {reprlib.repr(name)} that is not registered; the nearest "
            f"names are {', '.join(near)}. Import the code that registers it in lopt.LOPTS first."
        )
    kind = LOPTS[name]
    version = entry.get("feature_version", 1)
    if version != kind.feature_version:
        raise ValueError(
            f"{path} was trained with version {reprlib.repr(version)} of the features of {name!r}, "
            f"but this library computes version {kind.feature_version}; use the release of lopt "
            "that wrote it."
        )
    if not isinstance(fields, dict):
        raise ValueError(f"{path / CONFIG} is damaged: the optimizer's fields are missing.")
    fields = {key: _to_tuple(value) for key, value in fields.items()}
    annotations = typing.get_type_hints(kind)
    _check_fields(kind, name, fields, annotations, path)
    try:  # other writers of JSON may have made 1.0 into 1
        return kind(**{k: float(x) if annotations[k] is float else x for k, x in fields.items()})
    except Exception as error:  # the rule may be the user's own, and raise anything
        raise ValueError(
            f"{path / CONFIG} holds wrong fields for {name!r}: {in_brief(error)}"
        ) from error


def _check_fields(
    kind: type[LearnedOptimizer],
    name: str,
    fields: Mapping[str, Any],
    annotations: Mapping[str, Any],
    path: "Folder",
) -> None:
    known = {field.name for field in dataclasses.fields(kind)}
    if fields.keys() != known:
        differing = reprlib.repr(sorted(fields.keys() ^ known))
        raise ValueError(
            f"{path} was written for another version of {name!r}: its fields differ in {differing}."
        )
    values = [value for field in fields.values() for value in _values(field)]
    if len(values) > MAX_FIELD_VALUES:
        raise ValueError(
            f"{path / CONFIG} holds {len(values):,} values in the fields of {name!r}; the limit is "
            f"{MAX_FIELD_VALUES}."
        )
    for key, value in fields.items():
        if not _fits(value, annotations[key]):
            raise ValueError(
                f"{path / CONFIG} holds wrong fields for {name!r}: {key} = {reprlib.repr(value)} "
                f"must be {annotations[key]}, with whole numbers up to {MAX_FIELD_INTEGER:,} and "
                f"texts of up to {MAX_FIELD_CHARACTERS:,} characters."
            )


def _fits(value: Any, annotation: Any) -> bool:
    """Whether a field's value is of its type and not absurdly large.

    Annotations that are not those of plain hyperparameters fit everything.
    """
    arguments = typing.get_args(annotation)
    if typing.get_origin(annotation) in (typing.Union, types.UnionType):
        return any(_fits(value, argument) for argument in arguments)
    if typing.get_origin(annotation) is tuple:
        return isinstance(value, tuple) and all(
            any(_fits(x, argument) for argument in arguments if argument is not ...) for x in value
        )
    if annotation is float:
        return type(value) in (int, float) and abs(value) <= sys.float_info.max
    if annotation is int:
        return type(value) is int and abs(value) <= MAX_FIELD_INTEGER
    if annotation is str:
        return isinstance(value, str) and len(value) <= MAX_FIELD_CHARACTERS
    return annotation not in (bool, type(None)) or type(value) is annotation


def _values(field: Any) -> list[Any]:
    if isinstance(field, dict):
        return _values(tuple(field.values()))
    return [x for part in field for x in _values(part)] if isinstance(field, tuple) else [field]


def _to_tuple(field: Any) -> Any:
    return tuple(_to_tuple(x) for x in field) if isinstance(field, list) else field


def _registered_name(optimizer: LearnedOptimizer) -> str:
    for name, kind in LOPTS.items():
        if type(optimizer) is kind:
            return name
    raise ValueError(
        f"{type(optimizer).__name__} is not registered, so it could not be loaded again; add it "
        "to lopt.LOPTS under a name."
    )


def _lopt_version() -> str | None:
    try:
        return importlib.metadata.version("lopt")
    except importlib.metadata.PackageNotFoundError:
        return None
