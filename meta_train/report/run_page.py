"""The page about a meta-training run: what stands in it."""

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

import lopt
from meta_train.evaluation import Evaluation, verdict
from meta_train.evaluation.sentences import form
from meta_train.figures import evaluation_figures, run_figures, styles, update_rule
from meta_train.report import page_tables, update_rules
from meta_train.run.run_folder import BUNDLE, RunFolder


def content(run: RunFolder) -> dict[str, Any]:
    """What the template shows; to be called within ``styles.drawing()``."""
    remarks = list(run.remarks)
    found = run.comparison or Evaluation({})
    lines = styles.lines(found.learned, found.baselines)
    bundle = update_rules.load(run.folder / BUNDLE, remarks)
    return {
        "title": f"{_subject(run)}, meta-trained on {_goal(run)}",
        "verdict": _verdict(run, found),
        "facts": _facts(run, bundle),
        "meta_loss": run_figures.meta_loss(run),
        "diagnostics": run_figures.diagnostics(run),
        "comparison": evaluation_figures.losses(found, found.settings, "comparison", lines),
        "legend": lines,
        "comparison_tables": page_tables.measures(found, found.settings, "losses"),
        "tuned": page_tables.tuned(found),
        "rules": update_rules.draw({_subject(run): bundle}) if bundle else [],
        "rule_legend": update_rule.LEGEND,
        "rule_caption": update_rule.CAPTION,
        "config": page_tables.facts(run.config),
        "environment": _environment(run, bundle),
        "remarks": remarks,
    }


def _subject(run: RunFolder) -> str:
    return str(_field(run, "optimizer", "name") or "theta")


def _goal(run: RunFolder) -> str:
    system = _field(run, "system", "name")
    names = run.config.get("tasks") if system in (None, "lopt") else [system]
    return ", ".join(map(str, names or ["unknown tasks"]))


def _field(run: RunFolder, *path: str) -> Any:
    value: Any = run.config
    for name in path:
        value = value.get(name) if isinstance(value, Mapping) else None
    return value


def _verdict(run: RunFolder, found: Evaluation) -> str:
    """One sentence."""
    if not found.learned:
        return _progress(run)
    duels = found.verdict(found.learned[0]).of(found.settings)
    parts = [f"The learned optimizer has {verdict.tally(duels)}"]
    for outcome, words in ((verdict.HIGHER, "higher on "), (verdict.LOWER, "lower on ")):
        listed = verdict.listed(duels, outcome)
        parts += [words + listed] if listed else []
    return ": ".join([parts[0], "; ".join(parts[1:])]) + "." if parts[1:] else parts[0] + "."


def _progress(run: RunFolder) -> str:
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


def _done(run: RunFolder) -> int:
    return max((x["meta_step"] for x in run.records), default=0)


def _facts(run: RunFolder, bundle: lopt.Bundle | None) -> dict[str, str]:
    valid, speed = run.series("meta_valid_loss"), run.series("inner_steps_per_s").values
    seconds = run.series("seconds").values
    wanted = run.config.get("meta_steps")
    found = {
        "State": "finished" if run.finished is not None else "not finished",
        "Meta-steps": f"{_done(run):,}" + (f" of {wanted:,}" if _whole(wanted) else ""),
        "Estimator": page_tables.named(_field(run, "estimator")),
        "Optimizer": update_rules.summary(bundle) if bundle else "",
        "Time": form(_last(seconds), ",.0f") + " s",
        "Speed": form(_median(speed), ",.0f") + " inner steps per second (median)",
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


def _total(run: RunFolder, name: str) -> str:
    return f"{np.nansum(run.series(name).values):,.0f}"


def _environment(run: RunFolder, bundle: lopt.Bundle | None) -> dict[str, str]:
    """Versions that the run was made with: from its bundle, or its newest checkpoint."""
    versions = bundle.card.get("versions") if bundle else run.versions()
    return page_tables.facts(versions) if isinstance(versions, Mapping) else {}
