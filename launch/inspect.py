"""``lopt inspect``: what a work folder or a bundle holds, and whether it is whole."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from launch import errors, options

if TYPE_CHECKING:
    from etils import epath


@dataclass(frozen=True, kw_only=True)
class Arguments:
    """The command's flags."""

    json: bool = options.flag(
        "",
        "one JSON object: steps, latest_step (the newest that is whole), damaged, "
        "theta_sha256 (of latest_step: over the float32 bytes of theta's leaves in flattened "
        "order), details of every step, meta_steps done and wanted, meta_loss, versions and "
        "config; of a bundle its folder, optimizer, theta_sha256 and card",
    )


HELP = f"""
usage: lopt inspect WORKDIR|BUNDLE [--json]

Lists the checkpoints of a run, reads every one of their files and compares it with its checksum.
Of a bundle, which may be one that comes with lopt (`lopt list bundles`): what it is.

{options.help_of(Arguments)}

example: lopt inspect runs/digits
"""

_THETA = "meta_state/theta"
_CARD = ("title", "description", "horizon", "command", "license")
"""What of a bundle's card is printed."""


def run(arguments: Sequence[str]) -> int:
    """Inspect a work folder; returns the exit status."""
    asked, (given,) = options.read(
        Arguments, arguments, ("WORKDIR",), example="lopt inspect runs/digits"
    )
    from launch import bundles
    from lopt.bundle_files import WEIGHTS

    folder = bundles.locate(given)
    is_bundle = (folder / WEIGHTS).exists()
    report = inspect_bundle(folder) if is_bundle else inspect(folder)
    if asked.json:
        print(json.dumps(report, indent=2))
    elif is_bundle:
        print(f"{folder}: {report['optimizer']}\ntheta sha256 {report['theta_sha256']}")
        print("\n".join(f"{name}: {report['card'].get(name)}" for name in _CARD))
    else:
        _print(folder, report)
    return errors.DONE


def inspect_bundle(folder: "epath.Path") -> dict[str, Any]:
    """What ``--json`` prints of a bundle.

    Raises:
        UserError: it is damaged.
    """
    import jax

    from launch import bundles
    from lopt.bundle_config import theta_sha256

    _, bundle = bundles.load(str(folder))
    return {
        "bundle": str(folder),
        "optimizer": repr(bundle.optimizer),
        "theta_sha256": theta_sha256(jax.tree.leaves(bundle.theta)),
        "card": bundle.card,
    }


def inspect(folder: "epath.Path") -> dict[str, Any]:
    """What ``--json`` prints of a run.

    Raises:
        UserError: the folder holds no run.
    """
    from checkpoints import DamagedError, Store
    from lopt.bundle_config import theta_sha256
    from meta_train.run import run_folder

    store = Store(folder / run_folder.CHECKPOINTS)
    numbers = store.numbers()
    if not numbers and not (folder / run_folder.METRICS).exists():
        raise errors.UserError(f"{folder} holds no run: neither checkpoints/ nor metrics.jsonl")
    details: dict[int, dict[str, Any]] = {}
    latest: dict[str, Any] = {"latest_step": None, "theta_sha256": None}
    for number in numbers:
        try:
            arrays, step = store.load(number), store.read(number)
        except DamagedError as error:
            details[number] = {"damaged": str(error)}
            continue
        details[number] = {
            "damaged": None,
            "bytes": step.num_bytes,
            "arrays": len(step.arrays),
            "meta_valid_loss": step.score,
        }
        theta = [x for name, x in arrays.items() if f"{name}/".startswith(f"{_THETA}/")]
        latest = {
            "latest_step": number,
            "theta_sha256": theta_sha256(theta),
            "versions": step.metadata["versions"],
            "config": step.metadata.get("config"),
            "meta_loss": step.metadata["records"]["meta_loss"],
            "seconds": step.metadata["records"]["seconds"],
        }
    return {
        "workdir": str(folder),
        "steps": numbers,
        "damaged": [number for number in numbers if details[number]["damaged"]],
        "finished": run_folder.finished_steps(folder) is not None,
        **latest,
        "details": details,
    }


def _print(folder: "epath.Path", report: dict[str, Any]) -> None:
    from rich import filesize
    from rich.console import Console
    from rich.table import Table

    table = Table("meta-step", "state", "size", "meta-validation", title=str(folder))
    for number, detail in report["details"].items():
        if detail["damaged"]:
            table.add_row(str(number), f"damaged: {detail['damaged']}")
            continue
        score = detail["meta_valid_loss"]
        size = filesize.decimal(detail["bytes"])
        table.add_row(str(number), "whole", size, "" if score is None else f"{score:.4f}")
    Console().print(table)
    if report["latest_step"] is None:
        print("no whole checkpoint")
        return
    wanted = f" of {report['config']['meta_steps']}" if report["config"] else ""  # not from Python
    loss = "none" if report["meta_loss"] is None else f"{report['meta_loss']:.4f}"
    state = "finished" if report["finished"] else "not finished"
    print(f"meta-step {report['latest_step']}{wanted}, {state}; meta-loss {loss}")
    print(f"theta sha256 {report['theta_sha256']}")
    versions = report["versions"].items()
    print("written by " + ", ".join(f"{name} {version}" for name, version in versions))
