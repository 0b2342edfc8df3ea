"""Running an experiment, going on where it was stopped; then tables, figures and verdict."""

import csv
import io
import json
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from meta_train.evaluation import Store, identity
from meta_train.evaluation.result_store import write_atomically
from meta_train.experiments.experiment import Finding, Part, Plan, Table
from meta_train.figures import styles

SUMMARY = "summary.json"


def reproduce(
    name: str, plan: Plan, folder: Path, show: Callable[[str], None]
) -> Sequence[Finding]:
    """Compute what is missing in ``folder`` and write everything there.

    Args:
        name: of the experiment.
        plan: what is computed.
        folder: gets parts/, a CSV file for every table, PNG and PDF for every figure, and
            summary.json.
        show: is given a line for every part.

    Raises:
        OSError: something cannot be written.
    """
    store = Store([folder / "parts"])
    values = [_value(part, store, show) for part in plan.parts()]
    with styles.drawing():
        outcome = plan.outcome(name, values)
        for panel in outcome.panels:
            panel.save(folder)
    for file, table in outcome.tables.items():
        write_atomically(folder / f"{file}.csv", _csv(table).encode())
    summary = {
        "experiment": name,
        "expected": [finding._asdict() for finding in outcome.findings],
        "versions": identity.run_versions(),
        **identity.machine(),
    }
    text = json.dumps(summary, indent=2, allow_nan=False) + "\n"
    write_atomically(folder / SUMMARY, text.encode())
    return outcome.findings


def _value(part: Part, store: Store, show: Callable[[str], None]) -> object:
    started = time.monotonic()
    key = {**part.key, "versions": identity.run_versions()}
    value = store.load_json(key)
    if value is None:
        value = part.compute()
        store.save_json(key, value)
    show(f"{part.label}: {part.brief(value)} ({time.monotonic() - started:.1f} s)")
    return value


def _csv(table: Table) -> str:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(table.columns)
    writer.writerows(table.rows)
    return text.getvalue()
