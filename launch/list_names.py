"""``lopt list``: the names that a config or a command may use."""

import ast
import functools
from collections.abc import Sequence
from pathlib import Path

from absl import flags

from launch import errors, options

HELP = """
usage: lopt list [bundles|optimizers|tasks|estimators|baselines|configs|experiments]

Show every name that a config or a command can hold, with one line about each. Without an argument:
all kinds. Bundles are meta-trained optimizers that come with lopt, for `lopt.load(NAME)`.
"""

KINDS = ("bundles", "optimizers", "tasks", "estimators", "baselines", "configs", "experiments")


def run(arguments: Sequence[str]) -> int:
    """Print the asked kinds of names; returns the exit status."""
    words = options.parse(arguments, flags.FlagValues(), positional=("kind",))
    if words and words[0] not in KINDS:
        raise errors.unknown("kind of name", words[0], KINDS)
    kinds = words or KINDS
    for kind in kinds:
        entries = rows(kind)
        width = max(map(len, entries))
        indent = "" if words else "  "
        if not words:
            print(f"{kind}:")
        for name, summary in entries.items():
            print(f"{indent}{name:<{width}}  {summary}".rstrip())
    return errors.DONE


def rows(kind: str) -> dict[str, str]:
    """Names of one kind, each with the first line of its documentation.

    Args:
        kind: one of ``KINDS``.
    """
    if kind == "bundles":
        from lopt import shipped

        return {name: _bundle_summary(shipped.FOLDER / name) for name in shipped.names()}
    if kind == "configs":
        from launch import config_kinds, configuration

        kinds = (config_kinds.META_TRAIN, config_kinds.EVALUATE)
        files = {
            name: path for kind in kinds for name, path in configuration.packaged(kind).items()
        }
        return {name: _config_summary(path) for name, path in files.items()}
    if kind == "baselines":
        from meta_train.evaluation import BASELINES

        return {name: baseline.description for name, baseline in BASELINES.items()}
    if kind == "experiments":
        from meta_train.experiments import EXPERIMENTS

        return {name: experiment.summary for name, experiment in EXPERIMENTS.items()}
    return {name: _summary(entry) for name, entry in _registry(kind).items()}


def _registry(kind: str) -> dict:
    if kind == "optimizers":
        import lopt

        return lopt.LOPTS
    if kind == "tasks":
        import tasks

        return tasks.TASKS
    import meta_train

    return meta_train.ESTIMATORS


def _summary(entry: object) -> str:
    bound = ""
    while isinstance(entry, functools.partial):
        bound = ", ".join(f"{name} = {value}" for name, value in entry.keywords.items())
        entry = entry.func
    summary = _first_line(entry.__doc__)
    return f"{summary} ({bound})" if bound else summary


def _bundle_summary(folder: Path) -> str:
    import lopt

    optimizer, _, card = lopt.load_bundle(folder)
    rule = next(name for name, kind in lopt.LOPTS.items() if kind is type(optimizer))
    tasks = len(card["meta_training"]["tasks"])
    facts = f"{rule}, {tasks} meta-training tasks, up to {card['horizon']:,} steps"
    return f"{card['title']} ({facts})"


def _config_summary(path) -> str:
    return _first_line(ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))))


def _first_line(documentation: str | None) -> str:
    return (documentation or "").strip().split("\n\n")[0].replace("\n", " ").strip()
