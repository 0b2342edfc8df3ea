"""``lopt data``: the data sets that tasks read."""

from collections.abc import Sequence
from typing import Any

from absl import flags

from launch import errors, options

HELP = """
usage: lopt data list [--data_dir=DIR]
       lopt data prepare NAME [--from_dir=RAW] [--data_dir=DIR]

  list            show every data set, and whether it is there
  prepare NAME    make a data set ready; it is downloaded, or with --from_dir built from raw files
                  in that folder (idx files, CIFAR-10 binary batches) without a network
  --data_dir=DIR  where prepared data sets lie
"""

ACTIONS = ("list", "prepare")
_PATH_ERRORS = (FileExistsError, FileNotFoundError, NotADirectoryError, PermissionError)


def run(arguments: Sequence[str]) -> int:
    """List or prepare data sets; returns the exit status."""
    values = flags.FlagValues()
    flags.DEFINE_string("data_dir", None, "Where prepared data sets lie.", flag_values=values)
    flags.DEFINE_string("from_dir", None, "Folder of raw files.", flag_values=values)
    words = options.parse(arguments, values, positional=("action", "name"))
    if not words:
        raise errors.UserError("say what to do: lopt data list, or lopt data prepare NAME")
    if words[0] not in ACTIONS:
        raise errors.unknown("action", words[0], ACTIONS)
    data_dir, from_dir = values["data_dir"].value, values["from_dir"].value
    if words[0] == "list":
        return _list(data_dir)
    if len(words) < 2:
        raise errors.UserError("say which data set: lopt data prepare NAME (`lopt data list`)")
    return _prepare(words[1], data_dir, from_dir)


def _list(data_dir: str | None) -> int:
    import tasks

    table = [("name", "state", "examples", "shape", "size", "where")]
    table += [_cells(row) for row in tasks.list_datasets(data_dir)]
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    for cells in table:
        padded = (f"{cell:<{width}}" for cell, width in zip(cells, widths, strict=True))
        print("  ".join(padded).rstrip())
    return errors.DONE


def _cells(row: Any) -> tuple[str, ...]:
    count = "" if row.num_examples is None else f"{row.num_examples:,}"
    shape = "" if row.shape is None else "x".join(map(str, row.shape))
    size = "" if row.num_bytes is None else f"{row.num_bytes / 1e6:.1f} MB"
    return row.name, row.state, count, shape, size, row.where


def _prepare(name: str, data_dir: str | None, from_dir: str | None) -> int:
    import tasks

    known = [dataset.name for dataset in tasks.list_datasets(data_dir)]
    if name not in known:
        raise errors.unknown("data set", name, known)
    try:
        folder = tasks.prepare(name, data_dir=data_dir, from_dir=from_dir)
    except (tasks.MissingData, ValueError, *_PATH_ERRORS) as error:
        raise errors.UserError(str(error)) from error
    print(f"{name} is ready in {folder}")
    return errors.DONE
