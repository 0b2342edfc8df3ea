"""The kinds of configs that there are, and the sections of them that hold things by label."""

import functools
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from ml_collections import ConfigDict

from launch import errors


class Kind(NamedTuple):
    """What configs of one command look like."""

    command: str
    """The ``lopt`` command that takes them."""
    base: str
    """The packaged config with every field and its default."""
    common_fields: Mapping[str, frozenset[str]]
    """Sections whose fields depend on their ``name`` and are checked when the object is built; and
    those of their fields that keep their meaning when another ``name`` is given."""
    entries: Mapping[str, Mapping[str, Any]]
    """Sections of named things by label, and the defaults that each has besides its name."""
    changes: tuple[str, ...] = ()
    """Sections for ``normalise_changes``."""

    @property
    def whole(self) -> dict[str, Callable[[Any, str], Any]]:
        """Sections that are given as a whole, each with what brings it into its one form."""
        entries = {
            path: functools.partial(normalise_entries, defaults=defaults)
            for path, defaults in self.entries.items()
        }
        return {**entries, **dict.fromkeys(self.changes, normalise_changes)}


META_TRAIN = Kind(
    command="meta-train",
    base="base",
    common_fields={
        "system": frozenset({"name"}),
        "optimizer": frozenset({"name"}),
        "estimator": frozenset(
            {"name", "horizon", "truncation_length", "mean_over", "num_pairs", "std", "group_std"}
        ),
        "meta_optimizer": frozenset(
            {
                "name",
                "learning_rate",
                "schedule",
                "clip_norm",
                "clip_value",
                "group_factors",
                "average_rate",
            }
        ),
    },
    entries={
        "tasks": {"weight": 1.0},
        "comparison.held_out": {"weight": 1.0},
        "meta_validation.tasks": {"weight": 1.0},
    },
)
EVALUATE = Kind(
    command="evaluate",
    base="held_out",
    common_fields={},
    entries={"tasks": {"set": "held_out"}, "baselines": {}},
    changes=("axes",),
)


def normalise_entries(section: Any, path: str, defaults: Mapping[str, Any]) -> Any:
    """Bring every way to write named things into one: label -> {name, fields of the thing}.

    Args:
        section: a name, one entry, a sequence of names and entries, or entries by label.
        path: where it stands in the config, for messages.
        defaults: fields that every entry has besides its name, such as a weight.
    """
    if isinstance(section, str):
        section = [word.strip() for word in section.split(",")]
    if isinstance(section, Mapping | ConfigDict) and isinstance(section.get("name"), str):
        section = [section]
    if isinstance(section, Mapping | ConfigDict):
        entries = {str(label): _entry(value, path) for label, value in section.items()}
    else:
        sequence = section if isinstance(section, list | tuple) else [section]
        entries = _labelled([_entry(value, path) for value in sequence], path)
    for label, entry in entries.items():
        for field, value in {"name": label, **defaults}.items():
            entry.setdefault(field, value)
    return _section(entries, path)


def normalise_changes(section: Any, path: str) -> Any:
    """Check what changes tasks: a name of the change -> {label of a task: {field: value}}.

    Args:
        section: a mapping of that shape, perhaps empty.
        path: where it stands in the config, for messages.
    """
    levels = (Mapping, ConfigDict)
    if not isinstance(section, levels) or not all(
        isinstance(tasks, levels) and all(isinstance(fields, levels) for fields in tasks.values())
        for tasks in section.values()
    ):
        raise errors.UserError(
            f"config.{path} = {section!r} must be a dict of dicts such as "
            "{'width x4': {'digits_mlp': {'hidden': (128,)}}}, or {} for none"
        )
    return _section(dict(section.items()), path)


def _entry(value: Any, path: str) -> dict[str, Any]:
    if isinstance(value, str):
        return {"name": value}
    if isinstance(value, Mapping | ConfigDict):
        return dict(value.items())
    raise errors.UserError(
        f"config.{path} holds {value!r}; each entry is a name or a dict with a name and its fields"
    )


def _labelled(entries: list[dict[str, Any]], path: str) -> dict[str, dict[str, Any]]:
    labelled: dict[str, dict[str, Any]] = {}
    for entry in entries:
        name = entry.get("name")
        if not isinstance(name, str):
            raise errors.UserError(f"config.{path} holds a task without a name: {entry!r}")
        repeats = sum(other["name"] == name for other in labelled.values())
        labelled[f"{name}_{repeats + 1}" if repeats else name] = entry
    return labelled


def _section(entries: Mapping[str, Any], path: str) -> ConfigDict:
    try:
        return ConfigDict(entries)
    except ValueError as error:  # a label with a dot in it
        raise errors.UserError(f"config.{path}: {error}") from error
