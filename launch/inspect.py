"""``lopt inspect``: what a work folder holds, and whether it is whole."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from absl import flags

from launch import errors, options, workdir

HELP = """
usage: lopt inspect WORKDIR [--json]

Lists the checkpoints of a run, reads every one of their files and compares it with its checksum.

  --json    one JSON object: steps, latest_step (the newest that is whole), damaged, theta_sha256
            (of latest_step: over the float32 bytes of theta's leaves in flattened order), details
            of every step, meta_steps done and wanted, meta_loss, versions and config

example: lopt inspect runs/digits
"""

_THETA = "meta_state/theta"


def run(arguments: Sequence[str]) -> int:
    """Inspect a work folder; returns the exit status."""
    values = flags.FlagValues()
    flags.DEFINE_bool("json", False, "Machine-readable.", flag_values=values)
    words = options.parse(arguments, values, positional=("WORKDIR",))
    if not words:
        raise errors.UserError("WORKDIR is missing; for instance `lopt inspect runs/digits`")
    folder = Path(words[0]).expanduser()
    if not folder.is_dir():
        raise errors.UserError(f"work folder {folder} does not exist")
    report = inspect(folder)
    if values["json"].value:
        print(json.dumps(report, indent=2))
    else:
        _print(folder, report)
    return errors.DONE


def inspect(folder: Path) -> dict[str, Any]:
    """What ``--json`` prints.

    Raises:
        UserError: the folder holds no run.
    """
    from checkpoints import DamagedError, Store
    from lopt.bundle_config import theta_sha256

    store = Store(folder / workdir.CHECKPOINTS)
    numbers = store.numbers()
    if not numbers and not (folder / workdir.METRICS).exists():
        raise errors.UserError(f"{folder} holds no run: neither checkpoints/ nor metrics.jsonl")
    details: dict[int, dict[str, Any]] = {}
    latest: dict[str, Any] = {"latest_step": None, "theta_sha256": None}
    for number in numbers:
        try:
            arrays = store.load(number)
            step = store.read(number)
        except DamagedError as error:
            details[number] = {"damaged": str(error)}
            continue
        details[number] = {
            "damaged": None,
            "bytes": step.num_bytes,
            "arrays": len(step.arrays),
            "meta_valid_loss": step.score,
        }
        latest = {
            "latest_step": number,
            "theta_sha256": theta_sha256(_theta(arrays)),
            "versions": step.metadata["versions"],
            "config": step.metadata["config"],
            "meta_loss": step.metadata["records"]["meta_loss"],
            "seconds": step.metadata["records"]["seconds"],
        }
    return {
        "workdir": str(folder),
        "steps": numbers,
        "damaged": [number for number in numbers if details[number]["damaged"]],
        "finished": workdir.finished_steps(folder) is not None,
        **latest,
        "details": details,
    }


def _theta(arrays: dict[str, Any]) -> list[Any]:
    return [
        array for name, array in arrays.items() if name == _THETA or name.startswith(f"{_THETA}/")
    ]


def _print(folder: Path, report: dict[str, Any]) -> None:
    from rich import filesize
    from rich.console import Console
    from rich.table import Table

    table = Table("meta-step", "state", "size", "meta-validation", title=str(folder))
    for number, detail in report["details"].items():
        if detail["damaged"]:
            table.add_row(str(number), f"damaged: {detail['damaged']}", "", "")
            continue
        score = detail["meta_valid_loss"]
        size = filesize.decimal(detail["bytes"])
        table.add_row(str(number), "whole", size, "" if score is None else f"{score:.4f}")
    Console().print(table)
    if report["latest_step"] is None:
        print("no whole checkpoint")
        return
    wanted = report["config"]["meta_steps"]
    loss = "none" if report["meta_loss"] is None else f"{report['meta_loss']:.4f}"
    state = "finished" if report["finished"] else "not finished"
    print(f"meta-step {report['latest_step']} of {wanted}, {state}; meta-loss {loss}")
    print(f"theta sha256 {report['theta_sha256']}")
    versions = report["versions"]
    print("written by " + ", ".join(f"{name} {version}" for name, version in versions.items()))
