"""``lopt data``: the data sets that tasks read."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from launch import errors
from launch.options import flag, help_of, read


@dataclass(frozen=True, kw_only=True)
class Arguments:
    """The command's flags."""

    data_dir: str | None = flag("DIR", "where prepared data sets lie; may be gs://BUCKET/FOLDER")
    from_dir: str | None = flag(
        "RAW",
        "build the data set from raw files in this folder (idx files, CIFAR-10 binary batches), "
        "without a network",
    )


HELP = f"""
usage: lopt data list [--data_dir=DIR]
       lopt data prepare NAME [--from_dir=RAW] [--data_dir=DIR]

  list            show every data set, and whether it is there
  prepare NAME    make a data set ready; it is downloaded, but for --from_dir

{help_of(Arguments)}
"""

ACTIONS = ("list", "prepare")
_PATH_ERRORS = (FileExistsError, FileNotFoundError, NotADirectoryError, PermissionError)


def run(arguments: Sequence[str]) -> int:
    """List or prepare data sets; returns the exit status."""
    asked, words = read(Arguments, arguments, ("action", "name"))
    if not words:
        raise errors.UserError("say what to do: lopt data list, or lopt data prepare NAME")
    if words[0] not in ACTIONS:
        raise errors.unknown("action", words[0], ACTIONS)
    if words[0] == "list":
        return _list(asked.data_dir)
    if len(words) < 2:
        raise errors.UserError("say which data set: lopt data prepare NAME (`lopt data list`)")
    return _prepare(words[1], asked)


def _list(data_dir: str | None) -> int:
    import tasks

    table = [("name", "state", "examples", "shape", "size", "where")]
    with errors.mistakes():
        table += [_cells(row) for row in tasks.list_datasets(data_dir)]
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    for cells in table:
        print("  ".join(map(str.ljust, cells, widths)).rstrip())
    return errors.DONE


def _cells(row: Any) -> tuple[str, ...]:
    count = "" if row.num_examples is None else f"{row.num_examples:,}"
    shape = "" if row.shape is None else "x".join(map(str, row.shape))
    size = "" if row.num_bytes is None else f"{row.num_bytes / 1e6:.1f} MB"
    return row.name, row.state, count, shape, size, row.where


def _prepare(name: str, asked: Arguments) -> int:
    import tasks

    if name not in tasks.DATASETS:
        raise errors.unknown("data set", name, tasks.DATASETS)
    with errors.mistakes("", tasks.MissingData, ValueError, *_PATH_ERRORS):
        folder = tasks.prepare(name, data_dir=asked.data_dir, from_dir=asked.from_dir)
    print(f"{name} is ready in {folder}")
    return errors.DONE
