"""Building one named thing from its section of the config, with errors that name the field."""

import inspect
from collections.abc import Callable, Mapping
from typing import Any

import msgspec

from launch import errors
from launch.conversion import wanted


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
    converted = check_fields(factory, fields, where, name)
    with errors.mistakes(f"config.{where} ({name}): "):
        return factory(**converted)


def check_fields(
    factory: Callable[..., Any], fields: Mapping[str, Any], where: str, name: str
) -> dict[str, Any]:
    """The fields in the types that ``factory`` takes, which has no other without default.

    Raises:
        UserError: as for ``construct``.
    """
    taken, converted = parameters(factory), dict(fields)
    takes_any = any(p.kind is p.VAR_KEYWORD for p in _signature(factory).parameters.values())
    for field, value in fields.items():
        if field in taken:
            converted[field] = _convert(value, taken[field].annotation, f"{where}.{field}")
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
    return converted


def parameters(factory: Callable[..., Any]) -> dict[str, inspect.Parameter]:
    """The parameters of ``factory`` that can be given by name."""
    by_name = (inspect.Parameter.KEYWORD_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    return {p.name: p for p in _signature(factory).parameters.values() if p.kind in by_name}


def _signature(factory: Callable[..., Any]) -> inspect.Signature:
    try:
        return inspect.signature(factory, eval_str=True)
    except NameError:  # an annotation that is a string and refers to nothing
        return inspect.signature(factory)


def _convert(value: Any, hint: Any, where: str) -> Any:
    words = wanted(hint)
    if not words:  # a type that no value of a config has
        return value
    try:
        return msgspec.convert(value, hint)
    except msgspec.ValidationError as error:
        raise errors.UserError(
            f"config.{where} = {value!r} is of a wrong type; it wants {words}"
        ) from error
