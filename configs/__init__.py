"""Config files, one per experiment, and the building blocks of their fields.

A config file has ``get_config()``, which returns an ``ml_collections.ConfigDict``. The classes in
``configs/base.py`` and ``configs/held_out.py`` hold every field with its type, default and meaning.
"""

import dataclasses
from collections.abc import Iterator, Mapping
from typing import Annotated, Any

from msgspec import Meta

# The description of a bound is what an error says of it: "config.seed = -1 must be at least 0".
Index = Annotated[int, Meta(ge=0, description="at least 0")]
Count = Annotated[int, Meta(ge=1, description="at least 1")]
Positive = Annotated[float, Meta(gt=0, description="above 0")]
NotNegative = Annotated[float, Meta(ge=0, description="at least 0")]
Share = Annotated[float, Meta(ge=0, le=1, description="between 0 and 1")]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Section:
    """Fields of a config that belong together."""

    def to_dict(self) -> dict[str, Any]:
        """As plain data in the form that config files have, in alphabetical order."""
        values = {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}
        return _to_dict(values | values.pop("fields", {}))

    def flat(self) -> dict[str, Any]:
        """All fields by their path: {"estimator.std": 0.01, ...}."""
        return dict(_leaves(self.to_dict(), ""))


@dataclasses.dataclass(frozen=True, kw_only=True)
class Named(Section):
    """A section that also takes the fields of the thing that it names."""

    name: str
    """Of the thing, as `lopt list` shows it."""
    fields: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    """What belongs to that thing alone. In a config file these stand beside the other fields."""


def _to_dict(value: Any) -> Any:
    if isinstance(value, Section):
        return value.to_dict()
    if isinstance(value, Mapping):
        return {name: _to_dict(value[name]) for name in sorted(value)}
    return value


def _leaves(fields: Mapping[str, Any], above: str) -> Iterator[tuple[str, Any]]:
    for name, value in fields.items():
        if isinstance(value, dict):
            yield from _leaves(value, f"{above}{name}.")
        else:
            yield above + name, value
