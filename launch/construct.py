"""Building one named thing from its section of the config, with errors that name the field."""

import inspect
import types
import typing
from collections.abc import Callable, Mapping
from typing import Any

from ml_collections import ConfigDict

from launch import errors

_PLAIN = {int: "a whole number", float: "a number", bool: "True or False", str: "a string"}


def construct(factory: Callable[..., Any], fields: Mapping[str, Any], where: str, name: str) -> Any:
    """Call ``factory(**fields)``.

    Args:
        factory: class or function.
        fields: keyword arguments from the config.
        where: section of the config, such as "estimator".
        name: what is built, for messages, such as "pes".

    Raises:
        UserError: a field that the factory does not take, a missing one, a value of a wrong type,
            or a value that the factory refuses with ``ValueError``.
    """
    check_fields(factory, fields, where, name)
    taken = parameters(factory)
    try:
        return factory(
            **{
                field: _as_float(value, taken[field].annotation) if field in taken else value
                for field, value in fields.items()
            }
        )
    except ValueError as error:
        raise errors.UserError(f"config.{where} ({name}): {error}") from error


def check_fields(
    factory: Callable[..., Any], fields: Mapping[str, Any], where: str, name: str
) -> None:
    """Raise ``UserError`` unless ``factory`` takes ``fields`` and has no other without default."""
    taken = parameters(factory)
    takes_any = any(p.kind is p.VAR_KEYWORD for p in _signature(factory).parameters.values())
    for field, value in fields.items():
        if field in taken:
            _check_type(value, taken[field].annotation, f"config.{where}.{field}")
        elif not takes_any:
            raise errors.UserError(
                f"config.{where}.{field}: {name} has no field {field!r}"
                f"{errors.nearest(field, taken)}"
            )
    missing = [p.name for p in taken.values() if p.default is p.empty and p.name not in fields]
    if missing:
        raise errors.UserError(
            f"config.{where}: {name} needs {', '.join(missing)}; add "
            f"--config.{where}.{missing[0]}=..."
        )


def parameters(factory: Callable[..., Any]) -> dict[str, inspect.Parameter]:
    """The parameters of ``factory`` that can be given by name."""
    by_name = (inspect.Parameter.KEYWORD_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    return {p.name: p for p in _signature(factory).parameters.values() if p.kind in by_name}


def plain(value: Any) -> Any:
    """The value with config sections as dicts and lists as tuples, so that it can be hashed."""
    if isinstance(value, Mapping | ConfigDict):
        return {key: plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return tuple(plain(item) for item in value)
    return value


def _signature(factory: Callable[..., Any]) -> inspect.Signature:
    try:
        return inspect.signature(factory, eval_str=True)
    except NameError:  # an annotation that is a string and refers to nothing
        return inspect.signature(factory)


def _check_type(value: Any, annotation: Any, where: str) -> None:
    options = _options(annotation)
    if not options or any(_is_a(value, option) for option in options):
        return
    wanted = " or ".join(_PLAIN.get(option, str(option)) for option in options)
    wanted = wanted.replace(str(type(None)), "None")
    raise errors.UserError(f"{where} = {value!r} is of a wrong type; it wants {wanted}")


def _as_float(value: Any, annotation: Any) -> Any:
    """A whole number where only a float is wanted as that float."""
    whole = isinstance(value, int) and not isinstance(value, bool)
    options = _options(annotation)
    return float(value) if whole and float in options and int not in options else value


def _options(annotation: Any) -> tuple[Any, ...]:
    """Alternatives of an annotation that can be checked; empty where one cannot."""
    if typing.get_origin(annotation) in (typing.Union, types.UnionType):
        options = typing.get_args(annotation)
    else:
        options = (annotation,)
    checkable = all(
        option in _PLAIN or option is type(None) or typing.get_origin(option) is tuple
        for option in options
    )
    return options if checkable else ()


def _is_a(value: Any, option: Any) -> bool:
    if typing.get_origin(option) is tuple:
        members = [member for member in typing.get_args(option) if member is not Ellipsis]
        return isinstance(value, tuple) and all(
            any(
                _is_a(item, choice)
                for member in members
                for choice in _options(member) or (object,)
            )
            for item in value
        )
    if isinstance(value, bool) and option in (int, float):
        return False
    return isinstance(value, (int, float) if option is float else option)
