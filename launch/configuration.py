"""From ``--config=...`` to one complete config, typed and checked.

A config file is Python with ``get_config()``, or a ``config.json`` that an earlier run wrote. It
may hold only the fields it changes: the rest comes from the file beside the class of its kind,
which is also the list of all fields that exist.
"""

import functools
import importlib
import json
import traceback
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar

from ml_collections import ConfigDict

import configs
from configs.base import RunConfig
from configs.held_out import EvaluationConfig
from launch import errors
from launch.conversion import fill, plain

C = TypeVar("C", RunConfig, EvaluationConfig)
COMMANDS: dict[type[configs.Section], str] = {RunConfig: "meta-train", EvaluationConfig: "evaluate"}
"""The ``lopt`` command that takes the packaged configs of each kind."""
SUITES = ("held_out", "held_out_large")
"""The packaged configs that are an ``EvaluationConfig``."""


def packaged(kind: type[configs.Section]) -> dict[str, Path]:
    """The configs of a kind that come with the package: short name -> file."""
    files = sorted(Path(configs.__path__[0]).glob("[!_]*.py"))
    return {x.stem: x for x in files if (x.stem in SUITES) == (kind is EvaluationConfig)}


def load(spec: str, kind: type[C]) -> C:
    """Read a config by path or short name and complete it from the base.

    Args:
        spec: path of a .py or .json file, or the short name of a packaged config. After a colon
            may stand an argument for ``get_config``.
        kind: what it is a config of.

    Raises:
        UserError: no such config, an unreadable or broken file, a field that does not exist, or a
            value of a wrong type or out of range.
    """
    path, argument = _locate(spec, kind)
    given = _read_json(path) if path.suffix == ".json" else _read_python(path, argument)
    if not isinstance(given, Mapping | ConfigDict):
        raise errors.UserError(
            f"config file {path}: get_config() returned {type(given).__name__}, not a ConfigDict"
        )
    return complete(given, kind)


def complete(given: Mapping | ConfigDict, kind: type[C]) -> C:
    """All fields of a kind of config, with those of ``given`` in their place.

    Raises:
        UserError: as for ``load``.
    """
    return fill(_base(kind), plain(given))


@functools.cache
def _base(kind: type[C]) -> C:
    return fill(kind(), plain(importlib.import_module(kind.__module__).get_config()))


def _locate(spec: str, kind: type[configs.Section]) -> tuple[Path, str | None]:
    """File of a config and the argument for its ``get_config``."""
    path, colon, argument = spec, "", ""
    if not Path(spec).exists():
        path, colon, argument = spec.partition(":")
    known = packaged(kind)
    if path in known:
        return known[path], argument if colon else None
    for other, command in COMMANDS.items():
        if path in packaged(other):
            raise errors.UserError(
                f"{path} is a config of `lopt {command}`; `lopt {COMMANDS[kind]}` takes "
                f"{', '.join(known)}, or a file of yours"
            )
    if Path(path).is_file():
        return Path(path), argument if colon else None
    if Path(path).suffix in (".py", ".json") or "/" in path:
        stem = Path(path).stem
        hint = f"; the packaged config is --config={stem}" if stem in known else ""
        raise errors.UserError(f"config file {path} does not exist{hint}")
    raise errors.unknown("config", path, known)


def _read_json(path: Path) -> Any:
    where = f"config file {path} cannot be read: "
    with errors.mistakes(where, OSError, ValueError, RecursionError):
        return json.loads(path.read_text(encoding="utf-8"))


def _read_python(path: Path, argument: str | None) -> Any:
    names: dict[str, Any] = {"__name__": "lopt_config", "__file__": str(path)}
    try:
        exec(compile(path.read_bytes(), str(path), "exec"), names)
        if "get_config" not in names:
            raise errors.UserError(f"config file {path} defines no get_config()")
        return names["get_config"]() if argument is None else names["get_config"](argument)
    except errors.UserError:
        raise
    except Exception as error:
        frames = traceback.extract_tb(error.__traceback__)
        lines = [frame.lineno for frame in frames if frame.filename == str(path)]
        line = f", line {lines[-1]}" if lines else ""
        raise errors.UserError(
            f"config file {path}{line}: {type(error).__name__}: {error}"
        ) from error
