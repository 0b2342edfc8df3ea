"""``--config.a.b=value``: changing a config from the command line."""

import re
from collections.abc import Sequence

from launch import configuration, errors
from launch.configuration import C
from launch.conversion import Part, Text, fill, read

_OVERRIDE = re.compile(r"--?(no)?config\.([^=]+)(?:=(.*))?", re.DOTALL)


def resolve(arguments: Sequence[str], kind: type[C], example: str) -> tuple[C, list[str]]:
    """The complete config that a command line asks for, and the arguments that are left.

    Args:
        arguments: the words after the subcommand.
        kind: what it is a config of.
        example: a packaged config, for the message where none is given.

    Raises:
        UserError: as for ``configuration.load`` and ``apply``.
    """
    spec, rest = split_config(arguments)
    if not spec:
        raise errors.UserError(f"--config is missing; for instance --config={example}")
    return apply(configuration.load(spec, kind), rest)


def split_config(arguments: Sequence[str]) -> tuple[str | None, list[str]]:
    """Take ``--config=SPEC`` (or ``--config SPEC``) out of the arguments.

    Returns:
        SPEC, None where there is none, and the other arguments in their order.
    """
    spec, rest, words = None, [], iter(arguments)
    for word in words:
        if word in ("--config", "-config"):
            spec = next(words, None)
        elif word.startswith(("--config=", "-config=")):
            spec = word.split("=", 1)[1]
        else:
            rest.append(word)
    return spec, rest


def apply(config: C, arguments: Sequence[str]) -> tuple[C, list[str]]:
    """The config with all overrides among the arguments, and the other arguments in their order.

    Whole sections such as ``--config.tasks=a,b`` count before what is below them, and names before
    the fields of the things that they name, wherever they stand.

    Raises:
        UserError: an override of a field that does not exist, or a value that it cannot have.
    """
    given: dict[str, list[str]] = {}
    rest, words = [], iter(arguments)
    for word in words:
        match = _OVERRIDE.fullmatch(word)
        if match is None:
            rest.append(word)
            continue
        negated, path, value = match.groups()
        if value is None and (negated or isinstance(config.flat().get(path), bool)):
            value = "false" if negated else "true"
        elif value is None and (value := next(words, None)) is None:
            raise errors.UserError(f"{word} has no value; write {word}=VALUE")
        given.setdefault(path, []).append(value)
    for path in sorted(given, key=lambda x: (x.count("."), not x.endswith(".name"))):
        config = _set(config, path, given[path])
    return config, rest


def _set(config: C, path: str, texts: list[str]) -> C:
    value = Text(texts[-1])
    if isinstance(config.flat().get(path), tuple):  # a repeated flag adds to it
        value = tuple(item for text in texts for item in read(text, tuple))
    for name in reversed(path.split(".")):
        value = Part({name: value})
    with errors.mistakes(f"--config.{path}={texts[-1]}: ", errors.UserError):
        return fill(config, value)
