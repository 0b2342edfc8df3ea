"""A command's flags: fields of a frozen dataclass, which give the parser and the help text.

    @dataclass(frozen=True, kw_only=True)
    class Arguments:
        nodes: int = flag("N", "nodes; each runs one process", example="2")
        quiet: bool = flag(text="say nothing")

absl parses them. Every call has flags of its own: nothing is added to ``absl.flags.FLAGS``, so that
commands can be called any number of times in one process, also in one that has parsed flags of its
own.
"""

import dataclasses
import re
import textwrap
import types
import typing
from collections.abc import Sequence
from typing import Any, TypeVar

from absl import flags

from launch import errors

Arguments = TypeVar("Arguments")

_DEFINE = {
    bool: flags.DEFINE_bool,
    int: flags.DEFINE_integer,
    float: flags.DEFINE_float,
    str: flags.DEFINE_string,
    tuple: flags.DEFINE_list,
}
_WIDTH = 100
_WIDEST = 26
"""Characters of a flag with its value, beyond which its text begins further to the right."""


def flag(
    value: str = "", text: str = "", *, default: Any = None, example: str = "", least: int = 1
) -> Any:
    """Declare a flag; the field's annotation is its type: str, int, float, bool or tuple, or None.

    Args:
        value: stands for the value in the help, N in ``--nodes=N``; a switch has none.
        text: the help; a flag without one is listed beside the next.
        default: its value where it is not given; a switch is off.
        example: a value that it may have; a flag with an example must be given.
        least: bound of a whole number.
    """
    metadata = {"value": value, "text": text, "example": example, "least": least}
    if example:
        return dataclasses.field(metadata=metadata)
    off = default is None and not value
    return dataclasses.field(default=False if off else default, metadata=metadata)


def read(
    kind: type[Arguments],
    arguments: Sequence[str],
    positional: Sequence[str] = (),
    example: str = "",
    **others: Any,
) -> tuple[Arguments, list[str]]:
    """Parse a command line.

    Args:
        kind: declares the flags.
        arguments: the words after the subcommand.
        positional: names of the words that may stand without a flag, in order.
        example: a command line with all of them, where none may be missing.
        others: fields of ``kind`` that are no flags.

    Returns:
        The flags' values, and the words without a flag, at most as many as ``positional``.

    Raises:
        UserError: as for ``parse`` and ``taken``, or a word is missing.
    """
    values = define(kind, flags.FlagValues())
    words = parse(arguments, values, positional)
    if example and len(words) < len(positional):
        raise errors.UserError(f"{positional[len(words)]} is missing; for instance `{example}`")
    return taken(kind, values, **others), words


def define(kind: type, values: flags.FlagValues) -> flags.FlagValues:
    """Define the flags that ``kind`` declares in ``values``, and return these."""
    annotations = typing.get_type_hints(kind)
    for field in _declared(kind):
        wanted = _type(annotations[field.name])
        default = None if field.default is dataclasses.MISSING else field.default
        bounds = {"lower_bound": field.metadata["least"]} if wanted is int else {}
        _DEFINE[wanted](field.name, default, field.metadata["text"], flag_values=values, **bounds)
    return values


def parse(
    arguments: Sequence[str], values: flags.FlagValues, positional: Sequence[str] = ()
) -> list[str]:
    """Parse ``arguments`` into ``values``.

    Args:
        arguments: the words after the subcommand.
        values: holds the flags that were defined for this call.
        positional: names of the words that may stand without a flag, in order.

    Returns:
        The words without a flag, at most as many as ``positional``.

    Raises:
        UserError: an unknown flag, a value of a wrong type, or a word too many.
    """
    try:
        words = values(["lopt", *arguments])[1:]
    except flags.UnrecognizedFlagError as error:
        known = [name for name in values if "." not in name]
        raise errors.UserError(
            f"unknown flag --{error.flagname}{errors.nearest(error.flagname, known)}"
        ) from error
    except flags.Error as error:
        raise errors.UserError(_in_words(str(error))) from error
    if len(words) > len(positional):
        extra = words[len(positional)]
        raise errors.UserError(f"unexpected argument {extra!r}; flags are written --name=value")
    return words


def taken(kind: type[Arguments], values: flags.FlagValues, **others: Any) -> Arguments:
    """The parsed flags as the dataclass that declares them.

    Raises:
        UserError: one that must be given is missing.
    """
    given: dict[str, Any] = {}
    for field in _declared(kind):
        value = values[field.name].value
        if value is None and field.metadata["example"]:
            raise missing(field.name, field.metadata["example"])
        given[field.name] = tuple(value) if isinstance(value, list) else value
    return kind(**given, **others)


def missing(name: str, example: str) -> errors.UserError:
    """The error for a flag that is not given."""
    return errors.UserError(f"--{name} is missing; for instance --{name}={example}")


def help_of(kind: type) -> str:
    """The flags that ``kind`` declares, each with its text; inherited ones stand last."""
    rows, names = [], []
    for field in _declared(kind):
        value, text = field.metadata["value"], field.metadata["text"]
        names.append(f"--{field.name}={value}" if value else f"--{field.name}")
        if text:
            told = isinstance(field.default, int | float | str) and value
            rows.append((" ".join(names), f"{text} (default {field.default})" if told else text))
            names = []
    rows += [(" ".join(names), "")] if names else []
    width = max(len(left) for left, _ in rows if len(left) <= _WIDEST)
    return "\n".join(
        textwrap.fill(
            text,
            _WIDTH,
            initial_indent=f"  {left:<{width}}  ",
            subsequent_indent=" " * (width + 4),
            break_long_words=False,
            break_on_hyphens=False,
        )
        or f"  {left}"
        for left, text in rows
    )


def _declared(kind: type) -> list[dataclasses.Field[Any]]:
    """The fields that are flags, those of base classes last."""
    inherited = {
        x.name
        for base in kind.__bases__
        if dataclasses.is_dataclass(base)
        for x in dataclasses.fields(base)
    }
    fields = [field for field in dataclasses.fields(kind) if "value" in field.metadata]
    return sorted(fields, key=lambda field: field.name in inherited)


def _type(annotation: Any) -> Any:
    """The type of a flag's value: ``int`` of ``int | None``, ``tuple`` of ``tuple[str, ...]``."""
    if isinstance(annotation, types.UnionType):
        annotation, _ = typing.get_args(annotation)
    return typing.get_origin(annotation) or annotation


def _in_words(message: str) -> str:
    """absl's message, with Python's talk of literals said plainly."""
    message = re.sub(r"invalid literal for int\(\).*", "wants a whole number", message)
    return re.sub(r"could not convert string to float.*", "wants a number", message)
