"""Running an experiment, resuming where it was stopped; then tables, figures and verdict."""

import csv
import io
import json
import time
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from etils import epath

from meta_train.evaluation import Store, identity
from meta_train.evaluation.result_store import write_atomically
from meta_train.experiments.experiment import Finding, Part, Plan, Table
from meta_train.figures import styles

SUMMARY = "summary.json"


class _Computed(NamedTuple):
    """A part with its value."""

    label: str
    value: Any
    found: str
    """What a line of progress says of the value."""
    seconds: float
    """That it took, compilation included."""


def reproduce(
    name: str, plan: Plan, folder: epath.PathLike, show: Callable[[str], None]
) -> Sequence[Finding]:
    """Compute what is missing in ``folder`` and write everything there.

    Args:
        name: of the experiment.
        plan: what is computed.
        folder: gets parts/, a CSV file for every table, PNG, PDF and SVG for every figure, and
            summary.json, of which ``meta_train.report`` makes a page.
        show: is given a line for every part.

    Raises:
        OSError: something cannot be written.
    """
    folder = epath.Path(folder)
    store = Store([folder / "parts"])
    computed = [_computed(part, store, show) for part in plan.parts()]
    with styles.drawing():
        outcome = plan.outcome(name, [part.value for part in computed])
        for panel in outcome.panels:
            panel.save(folder, ("png", "pdf", "svg"))
    for file, table in outcome.tables.items():
        write_atomically(folder / f"{file}.csv", _csv(table).encode())
    summary = {
        "experiment": name,
        "expected": [finding._asdict() for finding in outcome.findings],
        "figures": [{"name": panel.name, "label": panel.label} for panel in outcome.panels],
        "parts": [
            {"label": part.label, "found": part.found, "seconds": part.seconds} for part in computed
        ],
        "versions": identity.run_versions(),
        **identity.machine(),
    }
    text = json.dumps(summary, indent=2, allow_nan=False) + "\n"
    write_atomically(folder / SUMMARY, text.encode())
    return outcome.findings


def _computed(part: Part, store: Store, show: Callable[[str], None]) -> _Computed:
    key = {"part": part.key, "versions": identity.run_versions()}
    kept = store.load_json(key)
    if kept is None:
        started = time.monotonic()
        kept = {"value": part.compute()}
        kept["seconds"] = round(time.monotonic() - started, 2)
        store.save_json(key, kept)
    found = part.brief(kept["value"])
    show(f"{part.label}: {found} ({kept['seconds']:.1f} s)")
    return _Computed(part.label, kept["value"], found, kept["seconds"])


def _csv(table: Table) -> str:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(table.columns)
    writer.writerows(table.rows)
    return text.getvalue()
