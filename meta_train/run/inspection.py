"""What the folder of a run holds, and whether its checkpoints are whole."""

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from checkpoints import DamagedError, Store
from meta_train.run import run_folder

if TYPE_CHECKING:
    from etils import epath

_THETA = "meta_state/theta"


class NoRun(ValueError):
    """A folder that holds no run."""


def inspect(folder: "epath.Path", digest: Callable[[list[Any]], str]) -> dict[str, Any]:
    """What ``lopt inspect --json`` prints of a run.

    Args:
        folder: of the run.
        digest: SHA-256 of the leaves of a theta.

    Raises:
        NoRun: the folder holds none.
    """
    store = Store(folder / run_folder.CHECKPOINTS)
    numbers = store.numbers()
    if not numbers and not (folder / run_folder.METRICS).exists():
        raise NoRun(f"{folder} holds no run: neither checkpoints/ nor metrics.jsonl")
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
            "theta_sha256": digest(theta),
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


def show(folder: "epath.Path", report: Mapping[str, Any]) -> None:
    """Print what ``inspect`` gives."""
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
