"""A command's flags: fields of a frozen dataclass, which give the parser and the help text.

    @dataclass(frozen=True, kw_only=True)
    class Arguments:
        nodes: int = flag("N", "nodes; each runs one process", example="2")
        quiet: bool = flag("", "say nothing")

absl parses them. Every call has flags of its own: nothing is added to ``absl.flags.FLAGS``, so that
commands can be called any number of times in one process, also in one that has parsed flags of its
own.
"""

import dataclasses
import re
import textwrap
import types
import typing
from collections.abc import Mapping, Sequence
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


@dataclasses.dataclass(frozen=True)
class NoFlags:
    """The flags of a command that has none."""


def flag(value: str, text: str, *, default: Any = None, example: str = "", least: int = 1) -> Any:
    """Declare a flag; the field's annotation is its type: str, int, float, bool or tuple, or None.

    Args:
        value: stands for the value in the help, N in ``--nodes=N``; a switch has "".
        text: the help, to which the default is added.
        default: its value where it is not given; a switch is off.
        example: a value that it may have; a flag with an example must be given.
        least: bound of a whole number.
    """
    shown = ",".join(f"{x}" for x in default) if isinstance(default, tuple) else default
    text += f" (default {shown})" if default else ""
    metadata = {"value": value, "text": text, "example": example, "least": least}
    if example:
        return dataclasses.field(metadata=metadata)
    return dataclasses.field(default=default if value else False, metadata=metadata)


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
        UserError: an unknown or missing flag, a value of a wrong type or too small, or a word too
            many or too few.
    """
    values = flags.FlagValues()
    annotations, declared = typing.get_type_hints(kind), _declared(kind)
    for field in declared:
        wanted = _type(annotations[field.name])
        default = None if field.default is dataclasses.MISSING else field.default
        default = list(default) if isinstance(default, tuple) else default
        _DEFINE[wanted](field.name, default, field.metadata["text"], flag_values=values)
    words = _parse(arguments, values, positional)
    if example and len(words) < len(positional):
        raise errors.UserError(f"{positional[len(words)]} is missing; for instance `{example}`")
    given: dict[str, Any] = {}
    for field in declared:
        value, least = values[field.name].value, field.metadata["least"]
        if value is None and field.metadata["example"]:
            raise missing(field.name, field.metadata["example"])
        if isinstance(value, int) and not isinstance(value, bool) and value < least:
            raise errors.UserError(f"--{field.name}={value} must be at least {least}")
        if isinstance(value, list):
            value = _items(field.name, value, annotations[field.name])
        given[field.name] = value
    return kind(**given, **others), words


def missing(name: str, example: str) -> errors.UserError:
    """The error for a flag that is not given."""
    return errors.UserError(f"--{name} is missing; for instance --{name}={example}")


def help_of(kind: type, others: Mapping[str, str] | None = None) -> str:
    """What a command line may hold, each with its text.

    Args:
        kind: declares the flags; inherited ones stand last.
        others: what may stand before them, such as words without a flag.
    """
    flag_texts = [*(others or {}).items()]
    flag_texts += [(_written(field), field.metadata["text"]) for field in _declared(kind)]
    width = max(len(written) for written, _ in flag_texts if len(written) <= _WIDEST)
    wrapper = textwrap.TextWrapper(_WIDTH, subsequent_indent=" " * (width + 4))
    wrapper.break_on_hyphens = False
    lines = []
    for written, text in flag_texts:
        wrapper.initial_indent = f"  {written:<{width}}  "
        lines += wrapper.wrap(text)
    return "\n".join(lines)


def _parse(
    arguments: Sequence[str], values: flags.FlagValues, positional: Sequence[str]
) -> list[str]:
    try:
        words = values(["lopt", *arguments])[1:]
    except flags.UnrecognizedFlagError as error:
        hint = errors.nearest(error.flagname, values)
        raise errors.UserError(f"unknown flag --{error.flagname}{hint}") from error
    except flags.Error as error:
        raise errors.UserError(_in_words(str(error))) from error
    if len(words) > len(positional):
        extra = words[len(positional)]
        raise errors.UserError(f"unexpected argument {extra!r}; flags are written --name=value")
    return words


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


def _written(field: dataclasses.Field[Any]) -> str:
    value = field.metadata["value"]
    return f"--{field.name}={value}" if value else f"--{field.name}"


def _type(annotation: Any) -> Any:
    """The type of a flag's value: ``int`` of ``int | None``, ``tuple`` of ``tuple[str, ...]``."""
    if isinstance(annotation, types.UnionType):
        annotation, _ = typing.get_args(annotation)
    return typing.get_origin(annotation) or annotation


def _items(name: str, words: Sequence[str], annotation: Any) -> tuple[Any, ...]:
    """The members of a list in their type: ``int`` of ``tuple[int, ...] | None``."""
    options = typing.get_args(annotation)
    kind = next((typing.get_args(x)[0] for x in options if typing.get_args(x)), options[0])
    try:
        return tuple(kind(word) for word in words)
    except ValueError:
        wanted = "whole numbers" if kind is int else "numbers"
        raise errors.UserError(f"--{name}={','.join(words)} wants {wanted}") from None


def _in_words(message: str) -> str:
    """absl's message, with Python's talk of literals said plainly."""
    message = re.sub(r"invalid literal for int\(\).*", "wants a whole number", message)
    return re.sub(r"could not convert string to float.*", "wants a number", message)
