"""``--config.a.b=value``: changing a config from the command line, over ml_collections."""

import ast
import re
from collections.abc import Sequence
from typing import Any

from absl import flags
from ml_collections import config_flags

from launch import configuration, errors
from launch.configuration import META_TRAIN, Config, Kind

_OVERRIDE = re.compile(r"--?(?:no)?config\.([^=]+)")


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


def define(
    config: Config,
    arguments: Sequence[str],
    values: flags.FlagValues,
    kind: Kind = META_TRAIN,
) -> None:
    """Define a flag in ``values`` for every override in ``arguments``; parsing sets the field.

    Args:
        config: complete config; it is changed in place when ``values`` parses the arguments.
        arguments: the words of the command line, without ``--config=SPEC``.
        values: flags of this call.
        kind: what it is a config of.

    Raises:
        UserError: an override of a field that does not exist.
    """
    _forget_fields_of_other_names(config, arguments, kind)
    for path in _paths(arguments):
        _open_new_entry(config, path, kind)
        configuration.check_field(config, path, kind)
    try:
        config_flags.DEFINE_config_dict(
            "config",
            config,
            flag_values=values,
            lock_config=False,
            accept_new_attributes=True,
            sys_argv=["lopt", *arguments],
        )
    except (flags.Error, ValueError) as error:
        raise errors.UserError(str(error)) from error


def take_whole(config: Config, arguments: Sequence[str], kind: Kind = META_TRAIN) -> list[str]:
    """Apply ``--config.tasks=...`` and the like, which ml_collections cannot read; return the rest.

    The value is one of the ways that the section may be written, such as ``a,b``. It counts before
    overrides of single fields, wherever it stands.

    Raises:
        UserError: a value that the section cannot hold.
    """
    rest, words = [], iter(arguments)
    for word in words:
        flag, equals, value = word.partition("=")
        path = flag.lstrip("-").removeprefix("config.")
        if flag.startswith("-") and path in kind.whole:
            value = value if equals else next(words, "")
            configuration.set_whole(config, path, _literal(value), kind)
        else:
            rest.append(word)
    return rest


def _forget_fields_of_other_names(config: Config, arguments: Sequence[str], kind: Kind) -> None:
    """Where ``--config.optimizer.name=lstm`` replaces an mlp, drop what is set for the mlp."""
    for section, common in kind.common_fields.items():
        fields = config[section]
        for word in arguments:
            flag, _, name = word.partition("=")
            if flag.lstrip("-") == f"config.{section}.name":
                configuration.forget_fields(fields, name, common)


def _literal(value: str) -> Any:
    try:
        return ast.literal_eval(value)
    except (SyntaxError, ValueError):
        return value


def _paths(arguments: Sequence[str]) -> list[str]:
    matches = (_OVERRIDE.match(word) for word in arguments)
    return [match.group(1) for match in matches if match]


def _open_new_entry(config: Config, path: str, kind: Kind) -> None:
    """Make room for the fields of a task whose label is new: ``--config.tasks.LABEL.name=...``."""
    for section in kind.entries:
        label, _, field = path.removeprefix(f"{section}.").partition(".")
        if path.startswith(f"{section}.") and field:
            entries = configuration.look_up(config, section)
            if label not in entries:
                entries[label] = kind.whole[section]({label: {}}, section)[label]
