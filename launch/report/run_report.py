"""The page about a meta-training run: what stands in it."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

import lopt
from checkpoints import DamagedError, Store
from launch import comparison, workdir
from launch.report import rule_figure, rule_section, run_figures, styles, tables
from launch.report.run_folder import BUNDLE, Run
from launch.report.tables import Cell, Table
from meta_train.evaluation import LEARNED, Row, verdict
from meta_train.evaluation.verdict import Duel

TEMPLATE = "run.html"

ByTask = Mapping[str, Sequence[Row]]
"""For each task the learned optimizer, then every baseline at its best learning rate."""


def content(run: Run) -> dict[str, Any]:
    """What the template shows; to be called within ``styles.drawing()``."""
    remarks = list(run.remarks)
    rows = _titled(run)
    by_task = comparison.best_rows(rows)
    names = dict.fromkeys(entry.optimizer for entries in by_task.values() for entry in entries)
    lines = styles.lines([LEARNED], [name for name in names if name != LEARNED])
    bundle = rule_section.load(run.folder / BUNDLE, remarks)
    return {
        "title": f"{_subject(run)}, meta-trained on {_goal(run)}",
        "verdict": _verdict(run, comparison.duels(rows)),
        "facts": _facts(run, bundle),
        "meta_loss": run_figures.meta_loss(run),
        "diagnostics": run_figures.diagnostics(run),
        "comparison": run_figures.comparison(by_task, lines),
        "legend": {name: lines[name] for name in names},
        "comparison_table": _table(by_task) if by_task else None,
        "rules": rule_section.draw({_subject(run): bundle}) if bundle else [],
        "rule_legend": rule_figure.LEGEND,
        "rule_caption": rule_figure.CAPTION,
        "config": tables.facts(run.config),
        "environment": _environment(run, bundle),
        "remarks": remarks,
    }


def _subject(run: Run) -> str:
    return str(_field(run, "optimizer", "name") or "theta")


def _goal(run: Run) -> str:
    system = _field(run, "system", "name")
    names = run.config.get("tasks") if system in (None, "lopt") else [system]
    return ", ".join(map(str, names or ["unknown tasks"]))


def _field(run: Run, *path: str) -> Any:
    value: Any = run.config
    for name in path:
        value = value.get(name) if isinstance(value, Mapping) else None
    return value


def _titled(run: Run) -> list[Row]:
    """The comparison, with tasks that say whether they are held out."""
    held_out = _field(run, "comparison", "held_out") or {}
    return [
        row._replace(task=f"{row.task} (held out)") if row.task in held_out else row
        for row in run.comparison
    ]


def _verdict(run: Run, duels: Sequence[Duel]) -> str:
    """One sentence."""
    if not duels:
        return _progress(run)
    parts = [f"The learned optimizer has {verdict.tally(duels)}"]
    for outcome, words in ((verdict.HIGHER, "higher on "), (verdict.LOWER, "lower on ")):
        listed = verdict.listed(duels, outcome)
        parts += [words + listed] if listed else []
    return ": ".join([parts[0], "; ".join(parts[1:])]) + "." if parts[1:] else parts[0] + "."


def _progress(run: Run) -> str:
    done, wanted = _done(run), run.config.get("meta_steps")
    state = "Finished" if run.finished is not None else "Stopped, or still going,"
    words = f"{state} after meta-step {done:,}" + (f" of {wanted:,}" if _whole(wanted) else "")
    losses = run.series("meta_loss").values
    finite = losses[np.isfinite(losses)]
    if len(finite):
        change = "fallen" if finite[-1] < finite[0] else "gone"
        words += f", the meta-loss {change} from {finite[0]:.4g} to {finite[-1]:.4g}"
    return words + "; not compared with tuned optimizers."


def _whole(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _done(run: Run) -> int:
    return max((x["meta_step"] for x in run.records), default=0)


def _facts(run: Run, bundle: lopt.Bundle | None) -> dict[str, str]:
    valid, speed = run.series("meta_valid_loss"), run.series("inner_steps_per_s").values
    seconds = run.series("seconds").values
    wanted = run.config.get("meta_steps")
    found = {
        "State": "finished" if run.finished is not None else "not finished",
        "Meta-steps": f"{_done(run):,}" + (f" of {wanted:,}" if _whole(wanted) else ""),
        "Estimator": tables.named(_field(run, "estimator")),
        "Optimizer": rule_section.summary(bundle) if bundle else "",
        "Time": tables.form(_last(seconds), ",.0f") + " s",
        "Speed": tables.form(_median(speed), ",.0f") + " inner steps per second (median)",
        "Diverged particles": _total(run, "diverged"),
        "Skipped meta-steps": _total(run, "skipped"),
    }
    if np.isfinite(valid.values).any():
        best = int(np.nanargmin(valid.values))
        words = f"{valid.values[best]:.4g} at meta-step {valid.steps[best]:,}"
        found["Best meta-validation"] = words
    return {name: words for name, words in found.items() if words}


def _last(values: np.ndarray) -> float:
    return float(values[-1]) if len(values) else math.nan


def _median(values: np.ndarray) -> float:
    finite = values[np.isfinite(values)]
    return float(np.median(finite)) if len(finite) else math.nan


def _total(run: Run, name: str) -> str:
    return f"{np.nansum(run.series(name).values):,.0f}"


def _table(by_task: ByTask) -> Table:
    rows = []
    for title, entries in by_task.items():
        lowest_mean = _lowest([entry.mean_loss for entry in entries])
        lowest_final = _lowest([entry.final_loss for entry in entries])
        lowest_valid = _lowest([entry.final_valid_loss for entry in entries])
        for entry in entries:
            rate = "" if entry.learning_rate is None else f"{entry.learning_rate:.2g}"
            mean = tables.with_error(tables.form(entry.mean_loss), entry.std_error)
            marked = [
                Cell(mean, entry.mean_loss == lowest_mean),
                Cell(tables.form(entry.final_loss), entry.final_loss == lowest_final),
                Cell(tables.form(entry.final_valid_loss), entry.final_valid_loss == lowest_valid),
            ]
            rows.append([*tables.row(title, entry.optimizer, rate), *marked])
    head = ("task", "optimizer", "learning rate", "mean loss", "final loss", "validation")
    caption = (
        "Training loss: mean over all inner steps and seeds with its standard error over seeds, "
        "and over the last twentieth of the steps. Validation loss: after the last step, of the "
        "average of parameters where an optimizer keeps one. Bold: the lowest on the task."
    )
    return Table(caption, head, rows, texts=2)


def _lowest(losses: Sequence[float]) -> float:
    return min((x for x in losses if math.isfinite(x)), default=math.nan)


def _environment(run: Run, bundle: lopt.Bundle | None) -> dict[str, str]:
    """Versions that the run was made with: from its bundle, or its newest checkpoint."""
    versions = bundle.card.get("versions") if bundle else _checkpoint_versions(run)
    return tables.facts(versions) if isinstance(versions, Mapping) else {}


def _checkpoint_versions(run: Run) -> Any:
    store = Store(run.folder / workdir.CHECKPOINTS)
    for number in reversed(store.numbers()):
        try:
            return store.read(number).metadata.get("versions")
        except DamagedError:
            continue
    return None
