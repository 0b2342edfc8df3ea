"""The one strict conversion: from what files and command lines say to typed, checked fields."""

import ast
import contextlib
import dataclasses
import functools
import types
import typing
from collections.abc import Iterable, Mapping
from typing import Annotated, Any, Literal, TypeVar

import msgspec
from ml_collections import ConfigDict

from configs import Named, NotNegative, Section
from launch import errors

S = TypeVar("S", bound=Section)
E = TypeVar("E", bound=Named)
_WORDS = {int: "a whole number", float: "a number", bool: "True or False", str: "a string"}
_WORDS |= {type(None): "None", tuple: "a tuple"}
_BOOLEANS = {"true": True, "t": True, "1": True, "false": False, "f": False, "0": False}


class Text(str):
    """A word of the command line, which is read in the type of its field."""


class Part(dict):
    """One field below a section, where a plain dict would be the section as a whole."""


def fill(section: S, given: Any, where: str = "") -> S:
    """The section with the given fields in the place of its own.

    Another name drops the fields that belong to the thing that was named before.

    Args:
        section: a config, or a part of one.
        given: ``plain`` fields by name, or ``Text`` that reads as such.
        where: path of the section in the config, for messages.

    Raises:
        UserError: a field that does not exist, or a value that it cannot have.
    """
    hints, changes, rest = _hints(type(section)), {}, {}
    for name, value in _fields(given, where).items():
        path = f"{where}.{name}".lstrip(".")
        if name in hints:
            changes[name] = _field(getattr(section, name), hints[name], value, path)
        elif isinstance(section, Named):
            rest[name] = value
        else:
            inside = f"config.{where}".rstrip(".")
            raise errors.UserError(f"{inside} has no field {name!r}{errors.nearest(name, hints)}")
    if isinstance(section, Named):
        kept = section.fields if changes.get("name", section.name) == section.name else {}
        read = {x: _value(kept.get(x), None, rest[x], f"{where}.{x}") for x in rest}
        changes["fields"] = {**kept, **read}
    with errors.mistakes(f"config.{where}.".replace("..", ".")):
        return dataclasses.replace(section, **changes)


def plain(value: Any) -> Any:
    """The value with sections as dicts in alphabetical order, and lists as tuples."""
    if isinstance(value, Mapping | ConfigDict):
        return {str(key): plain(value[key]) for key in sorted(value, key=str)}
    if isinstance(value, list | tuple):
        return tuple(plain(item) for item in value)
    return value


def read(text: str, hint: Any) -> Any:
    """A word of the command line as a value: a Python literal, or itself where it is none.

    Args:
        text: the word.
        hint: type of its field, in which it is read where it can be; None where nothing is known.
    """
    kinds = [_kind(option) for option in _options(hint)]
    if kinds == [str]:
        return str(text)
    if kinds == [bool]:
        return _BOOLEANS.get(text.lower(), str(text))
    for kind in (int, float):
        if kind in kinds:
            with contextlib.suppress(ValueError):
                return kind(text)
    try:
        value = plain(ast.literal_eval(text.capitalize() if text in ("true", "false") else text))
    except (SyntaxError, ValueError, TypeError):
        value = str(text)
    if kinds == [tuple]:
        return value if isinstance(value, tuple) else (value,)
    takes_text = str in kinds and value is not None and not isinstance(value, str)
    return str(text) if takes_text else value


def wanted(hint: Any, value: Any = None) -> str:
    """In words what a type takes; "" for one that values of a config cannot be checked against."""
    words = [_words(option, value) for option in _options(hint)]
    return " or ".join(words) if all(words) else ""


def _field(current: Any, hint: Any, given: Any, path: str) -> Any:
    """The checked value of a field of the schema."""
    if isinstance(current, Section):
        return fill(current if isinstance(given, Part) else type(current)(), given, path)
    if _kind(hint) is Mapping and issubclass(_kind(typing.get_args(hint)[1]), Named):
        return _entries(current, typing.get_args(hint)[1], given, path)
    value = _value(current, hint, given, path)
    try:
        return msgspec.convert(value, hint)
    except msgspec.ValidationError as error:
        raise _mistake(value, hint, path) from error


def _value(current: Any, hint: Any, given: Any, path: str) -> Any:
    """What is given as a plain value; a part is put into the current one."""
    if isinstance(given, Part):
        if not isinstance(current, Mapping):
            raise errors.UserError(
                f"config.{path} is a value, not a section; to turn it into one write the whole: "
                f"--config.{path}=\"{{'name': ..., ...}}\""
            )
        below = {x: _value(current.get(x), None, given[x], f"{path}.{x}") for x in given}
        return plain({**current, **below})
    hint = type(current) if hint is None and current is not None else hint
    return read(given, hint) if isinstance(given, Text) else given


def _entries(current: Mapping[str, E], kind: type[E], given: Any, path: str) -> dict[str, E]:
    """Named things by label, in alphabetical order.

    They are given by label, as a name, as one entry, or as a sequence of names and entries.
    """
    value = read(given, None) if isinstance(given, Text) else given
    if isinstance(value, str):
        value = [word.strip() for word in value.split(",")]
    if not isinstance(value, Mapping) or isinstance(value.get("name"), str):
        value = _labelled(value if isinstance(value, list | tuple) else [value], path)
    entries = dict(current) if isinstance(given, Part) else {}
    for label, fields in value.items():
        if "." in label:
            raise errors.UserError(f"config.{path}: the label {label!r} must be without a dot")
        start = entries.get(label) if isinstance(fields, Part) else None
        start, entry = start or kind(name=label), _entry(fields, path)
        # Under another name a task keeps its fields.
        start = dataclasses.replace(start, name=entry.get("name", start.name))
        entries[label] = fill(start, entry, f"{path}.{label}")
    return dict(sorted(entries.items()))


def _labelled(entries: Iterable[Any], path: str) -> dict[str, Mapping[str, Any]]:
    labelled: dict[str, Mapping[str, Any]] = {}
    for entry in (_entry(value, path) for value in entries):
        name = entry.get("name")
        if not isinstance(name, str):
            raise errors.UserError(f"config.{path} holds a task without a name: {entry!r}")
        repeats = sum(other["name"] == name for other in labelled.values())
        labelled[f"{name}_{repeats + 1}" if repeats else name] = entry
    return labelled


def _entry(value: Any, path: str) -> Mapping[str, Any]:
    value = read(value, None) if isinstance(value, Text) else value
    if isinstance(value, str):
        return {"name": value}
    if isinstance(value, Mapping):
        return value
    raise errors.UserError(
        f"config.{path} holds {value!r}; each entry is a name or a dict with a name and its fields"
    )


def _fields(given: Any, where: str) -> Mapping[str, Any]:
    value = read(given, None) if isinstance(given, Text) else given
    if isinstance(value, Mapping):
        return value
    is_of = f"is of type {type(value).__name__}; it wants a section"
    raise errors.UserError(f"config.{where} = {value!r} {is_of}")


@functools.cache
def _hints(section: type[Section]) -> dict[str, Any]:
    hints = typing.get_type_hints(section, include_extras=True)
    hints.pop("fields", None)
    return hints


def _options(hint: Any) -> tuple[Any, ...]:
    """The alternatives of a type."""
    union = typing.get_origin(hint) in (typing.Union, types.UnionType)
    return typing.get_args(hint) if union else (hint,)


def _kind(option: Any) -> Any:
    """The class behind one alternative, without bounds and members."""
    origin = typing.get_origin(option)
    return _kind(option.__origin__) if origin is Annotated else origin or option


def _words(option: Any, value: Any) -> str:
    kind = _kind(option)
    if kind is Literal:
        return " or ".join(map(repr, typing.get_args(option)))
    if kind is Mapping:
        members = {Mapping: " of dicts", float: " of numbers"}
        return "a dict" + members.get(_kind(typing.get_args(option)[1]), "")
    if typing.get_origin(option) is not Annotated:
        return _WORDS.get(kind, "")
    bound = option.__metadata__[0].description
    return f"{_WORDS[kind]}, {bound}" if kind is int and not isinstance(value, int) else bound


def _mistake(value: Any, hint: Any, path: str) -> errors.UserError:
    """What is wrong with a value that does not fit."""
    kind, given = _kind(hint), type(value)
    if hint == tuple[str, ...] and given is tuple:
        strange = next(item for item in value if not isinstance(item, str))
        return errors.UserError(f"unknown config.{path} {strange!r}; each is a name")
    if kind in (int, float, bool, str) and given not in (kind, int if kind is float else kind):
        wants = f"is of type {given.__name__}; it wants {_WORDS[kind]}"
        return errors.UserError(f"config.{path} = {value!r} {wants}")
    numbers = Mapping[str, NotNegative]
    for name in value if given is dict and numbers in _options(hint) else ():
        try:
            msgspec.convert(value[name], NotNegative)
        except msgspec.ValidationError:
            said = f"{name} = {value[name]!r} must be a number, at least 0"
            return errors.UserError(f"config.{path}: {said}")
    return errors.UserError(f"config.{path} = {value!r} must be {wanted(hint, value)}")
