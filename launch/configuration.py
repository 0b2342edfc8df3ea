"""From ``--config=...`` and overrides to one complete config.

A config file is Python with ``get_config()``, or a ``config.json`` that an earlier run wrote. It
may hold only the fields it changes: the rest comes from the base of its kind (``configs/base.py``
for meta-training), which is also the list of all fields that exist.
"""

import importlib.util
import json
import traceback
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ml_collections import ConfigDict

from launch import errors
from launch.config_kinds import EVALUATE, META_TRAIN, Kind

Config = Any
"""A ``ConfigDict`` with every field of the base; the fields have no static types."""

_FOLDER = Path(__file__).resolve().parent.parent / "configs"

SUITES = ("held_out", "held_out_large")
"""The packaged configs of ``EVALUATE``."""


def packaged(kind: Kind = META_TRAIN) -> dict[str, Path]:
    """The configs that come with the package: short name -> file."""
    files = sorted(_FOLDER.glob("*.py"))
    return {
        file.stem: file
        for file in files
        if not file.stem.startswith("_") and (file.stem in SUITES) == (kind is EVALUATE)
    }


def load(spec: str, kind: Kind = META_TRAIN) -> Config:
    """Read a config by path or short name and complete it from the base.

    Args:
        spec: path of a .py or .json file, or the short name of a packaged config. After a colon
            may stand an argument for ``get_config``.
        kind: what it is a config of.

    Raises:
        UserError: no such config, an unreadable or broken file, or a field that does not exist.
    """
    path, argument = _locate(spec, kind)
    given = _read_json(path) if path.suffix == ".json" else _read_python(path, argument)
    if not isinstance(given, Mapping | ConfigDict):
        raise errors.UserError(
            f"config file {path}: get_config() returned {type(given).__name__}, not a ConfigDict"
        )
    return complete(given, kind)


def complete(given: Mapping | ConfigDict, kind: Kind = META_TRAIN) -> Config:
    """All fields of the base, with those of ``given`` in their place.

    Raises:
        UserError: a field that does not exist, or a value of a wrong type.
    """
    config = _base(kind)
    _merge(config, given, "", kind)
    return config


def check_field(config: Config, path: str, kind: Kind = META_TRAIN) -> None:
    """Raise ``UserError`` unless ``path`` ("estimator.std") is a field that may be set."""
    section, walked = config, ""
    for name in path.split("."):
        if not isinstance(section, ConfigDict):
            raise errors.UserError(
                f"config.{walked} is a value, not a section; to turn it into one write the whole: "
                f"--config.{walked}=\"{{'name': ..., ...}}\""
            )
        if name not in section:
            if walked in kind.common_fields or _is_entry_field(walked, kind):
                return
            raise _no_field(walked, name, section)
        section, walked = section[name], f"{walked}.{name}".lstrip(".")


def look_up(config: Config, path: str) -> Any:
    """The value of a field by its path: "estimator.std"."""
    for name in path.split("."):
        config = config[name]
    return config


def forget_fields(fields: ConfigDict, name: str, common: frozenset[str]) -> None:
    """Where a section gets another ``name``, drop what is set for the one before."""
    if name != fields.name:
        for field in set(fields) - common:
            del fields[field]


def set_whole(config: Config, path: str, section: Any, kind: Kind = META_TRAIN) -> None:
    """Put a section into one of ``kind.whole``, in any of the ways that it may be written."""
    parent, _, name = path.rpartition(".")
    holder = look_up(config, parent) if parent else config
    holder[name] = kind.whole[path](section, path)


def flat(config: Config) -> dict[str, Any]:
    """All fields by their path: {"estimator.std": 0.01, ...}."""
    fields: dict[str, Any] = {}
    for name, value in config.to_dict().items():
        if isinstance(value, dict):
            below = flat(ConfigDict(value))
            fields |= {f"{name}.{path}": entry for path, entry in below.items()}
        else:
            fields[name] = value
    return fields


def subject(config: Config) -> str:
    """What is meta-trained, in a word."""
    return config.optimizer.name if config.system.name == "lopt" else "theta"


def goal(config: Config) -> str:
    """What it is meta-trained on, in a few words."""
    return ", ".join(config.tasks) if config.system.name == "lopt" else config.system.name


def _base(kind: Kind) -> Config:
    config: Config = importlib.import_module(f"configs.{kind.base}").get_config()
    for path in kind.whole:
        set_whole(config, path, look_up(config, path), kind)
    return config


def _merge(config: Config, given: Mapping | ConfigDict, path: str, kind: Kind) -> None:
    if path in kind.common_fields:
        forget_fields(config, str(given.get("name", config.name)), kind.common_fields[path])
    for name, value in given.items():
        where = f"{path}.{name}".lstrip(".")
        if name not in config and path not in kind.common_fields:
            raise _no_field(path, name, config)
        if where in kind.whole:
            config[name] = kind.whole[where](value, where)
        elif isinstance(config.get(name), ConfigDict) and isinstance(value, Mapping | ConfigDict):
            _merge(config[name], value, where, kind)
        else:
            _assign(config, name, value, where)


def _assign(config: Config, name: str, value: Any, where: str) -> None:
    if isinstance(value, list):
        value = tuple(value)
    wanted = config.get_type(name) if name in config else object
    try:
        if value is None and wanted is not object:
            raise TypeError("ml_collections lets None pass everywhere")
        config[name] = value
    except TypeError as error:
        raise errors.UserError(
            f"config.{where} = {value!r} is of type {type(value).__name__}; it wants "
            f"{'a section' if wanted is ConfigDict else wanted.__name__}"
        ) from error
    except ValueError as error:  # a name with a dot in it
        raise errors.UserError(f"config.{where}: {error}") from error


def _is_entry_field(path: str, kind: Kind) -> bool:
    """Whether fields of a named thing stand directly below ``path``."""
    return any(path.startswith(f"{section}.") for section in kind.entries)


def _no_field(path: str, name: str, section: ConfigDict) -> errors.UserError:
    where = f"config.{path}".rstrip(".")
    return errors.UserError(f"{where} has no field {name!r}{errors.nearest(name, section.keys())}")


def _locate(spec: str, kind: Kind) -> tuple[Path, str | None]:
    """File of a config and the argument for its ``get_config``."""
    path, argument = spec, None
    if ":" in spec and not Path(spec).exists():
        path, argument = spec.split(":", 1)
    known = packaged(kind)
    if path in known:
        return known[path], argument
    for other in (META_TRAIN, EVALUATE):
        if path in packaged(other):
            raise errors.UserError(
                f"{path} is a config of `lopt {other.command}`; `lopt {kind.command}` takes "
                f"{', '.join(known)}, or a file of yours"
            )
    if Path(path).is_file():
        return Path(path), argument
    if Path(path).suffix in (".py", ".json") or "/" in path:
        stem = Path(path).stem
        hint = f"; the packaged config is --config={stem}" if stem in known else ""
        raise errors.UserError(f"config file {path} does not exist{hint}")
    raise errors.unknown("config", path, known)


def _read_json(path: Path) -> Any:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise errors.UserError(f"config file {path} cannot be read: {error}") from error


def _read_python(path: Path, argument: str | None) -> Any:
    try:
        source = compile(path.read_bytes(), str(path), "exec")
    except (OSError, SyntaxError, ValueError) as error:
        raise errors.UserError(f"config file {path} cannot be read: {error}") from error
    spec = importlib.util.spec_from_loader("lopt_config", loader=None, origin=str(path))
    assert spec is not None
    module = importlib.util.module_from_spec(spec)
    module.__file__ = str(path)
    try:
        exec(source, module.__dict__)
        get_config = module.__dict__.get("get_config")
        if get_config is None:
            raise errors.UserError(f"config file {path} defines no get_config()")
        return get_config() if argument is None else get_config(argument)
    except errors.UserError:
        raise
    except Exception as error:
        lines = [
            frame.lineno
            for frame in traceback.extract_tb(error.__traceback__)
            if frame.filename == str(path)
        ]
        line = f", line {lines[-1]}" if lines else ""
        raise errors.UserError(
            f"config file {path}{line}: {type(error).__name__}: {error}"
        ) from error
