"""``lopt list``: the names that a config or a command may use."""

import ast
import functools
import importlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from launch import errors, options

HELP = """
usage: lopt list [bundles|optimizers|tasks|systems|estimators|baselines|configs|experiments]

Show every name that a config or a command can hold, with one line about each. Without an argument:
all kinds. Bundles are meta-trained optimizers that come with lopt, for `lopt.load(NAME)`.
"""


def run(arguments: Sequence[str]) -> int:
    """Print the asked kinds of names; returns the exit status."""
    _, words = options.read(options.NoFlags, arguments, ("kind",))
    if words and words[0] not in KINDS:
        raise errors.unknown("kind of name", words[0], KINDS)
    for kind in words or KINDS:
        entries = KINDS[kind]()
        width = max(map(len, entries))
        indent = "" if words else "  "
        if not words:
            print(f"{kind}:")
        for name, summary in entries.items():
            print(f"{indent}{name:<{width}}  {summary}".rstrip())
    return errors.DONE


def _registry(module: str, name: str, summary: Callable[[Any], str]) -> dict[str, str]:
    """The entries of a registry, imported when it is asked for, each with a line about it."""
    entries = getattr(importlib.import_module(module), name)
    return {name: summary(entry) for name, entry in entries.items()}


def _documentation(entry: Any) -> str:
    """The first line of a class's or function's docstring, and what is bound of its arguments."""
    bound = ""
    while isinstance(entry, functools.partial):
        bound = ", ".join(f"{name} = {value}" for name, value in entry.keywords.items())
        entry = entry.func
    summary = _first_line(entry.__doc__)
    return f"{summary} ({bound})" if bound else summary


def _bundles() -> dict[str, str]:
    import lopt
    from lopt import shipped

    lines = {}
    for name in shipped.names():
        optimizer, _, card = lopt.load_bundle(shipped.FOLDER / name)
        rule = next(name for name, kind in lopt.LOPTS.items() if kind is type(optimizer))
        tasks = len(card["meta_training"]["tasks"])
        facts = f"{rule}, {tasks} meta-training tasks, up to {card['horizon']:,} steps"
        lines[name] = f"{card['title']} ({facts})"
    return lines


def _configs() -> dict[str, str]:
    from launch import configuration

    files: dict[str, Path] = {}
    for kind in configuration.COMMANDS:
        files |= configuration.packaged(kind)
    sources = {name: path.read_text(encoding="utf-8") for name, path in files.items()}
    return {name: _first_line(ast.get_docstring(ast.parse(x))) for name, x in sources.items()}


def _first_line(documentation: str | None) -> str:
    summary = (documentation or "").strip().split("\n\n")[0]
    return summary.replace("\n", " ").replace("``", "").strip()


KINDS: dict[str, Callable[[], dict[str, str]]] = {
    "bundles": _bundles,
    "optimizers": lambda: _registry("lopt", "LOPTS", _documentation),
    "tasks": lambda: _registry("tasks", "TASKS", _documentation),
    "systems": lambda: _registry("meta_train", "SYSTEMS", _documentation),
    "estimators": lambda: _registry("meta_train", "ESTIMATORS", _documentation),
    "baselines": lambda: _registry("meta_train.evaluation", "BASELINES", lambda x: x.description),
    "configs": _configs,
    "experiments": lambda: _registry("meta_train.experiments", "EXPERIMENTS", lambda x: x.summary),
}
"""Kind of name -> the names of that kind, each with a line about it."""
