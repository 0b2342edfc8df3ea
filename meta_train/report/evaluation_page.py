"""The page about an evaluation: what stands in it."""

from collections.abc import Mapping
from typing import Any

from etils import epath

from meta_train.evaluation import Evaluation
from meta_train.evaluation.evaluation import CURVES
from meta_train.evaluation.sentences import ABSENT, changed, form, held_out, sentences
from meta_train.evaluation.workload import Setting
from meta_train.figures import evaluation_figures, styles, update_rule
from meta_train.figures.panels import Panel
from meta_train.figures.styles import Line
from meta_train.report import page_tables, update_rules
from meta_train.run import run_folder

_PLACES = ("data_dir", "cache_dir", "workers")
"""Fields of the config that say nothing outside the machine."""


def content(evaluation: Evaluation, folder: epath.Path) -> dict[str, Any]:
    """What the template shows; to be called within ``styles.drawing()``.

    Args:
        evaluation: what the page is about.
        folder: where it is, and its config.
    """
    remarks = list(evaluation.remarks)
    config = run_folder.read_json(folder / run_folder.CONFIG, dict, remarks) or {}
    budget = config.get("tuning")
    lines = styles.lines(evaluation.learned, [*evaluation.tuned, *evaluation.baselines])
    tasks = [x for x in evaluation.settings if not x.axis]
    changes = changed(evaluation)
    return {
        "title": _title(evaluation, len(tasks)),
        "subtitle": _subtitle(evaluation, tasks),
        "verdicts": {name: sentences(evaluation, name) for name in evaluation.learned},
        "aggregate_table": page_tables.aggregate(evaluation),
        "aggregate_panels": _together(evaluation, lines),
        "legend": lines,
        "losses": page_tables.measures(evaluation, tasks, "losses"),
        "tasks": [(x, _all_curves(evaluation, x, f"task-{i}", lines)) for i, x in enumerate(tasks)],
        "changed_losses": page_tables.measures(evaluation, changes, "losses"),
        "tuned_on_changes": any(row.get("axis") for row in evaluation.rows("tuned")),
        "changed_panels": evaluation_figures.losses(evaluation, changes, "changed", lines),
        "speed": page_tables.measures(evaluation, evaluation.settings, "speed"),
        "diverged": page_tables.measures(evaluation, _with_divergence(evaluation), "divergence"),
        "divergence_known": any(
            x.get("diverged") is not None for x in evaluation.measures.values()
        ),
        "optimizers": page_tables.optimizers(evaluation),
        "tuned": page_tables.tuned(evaluation),
        "budget": page_tables.fields(budget if isinstance(budget, dict) else {}),
        "rules": update_rules.draw(_bundles(evaluation, remarks)),
        "rule_legend": update_rule.LEGEND,
        "rule_caption": update_rule.CAPTION,
        "config": page_tables.facts({k: v for k, v in config.items() if k not in _PLACES}),
        "environment": page_tables.facts(evaluation.summary.get("environment") or {}),
        "remarks": remarks,
    }


def _title(evaluation: Evaluation, num_tasks: int) -> str:
    subject = ", ".join(evaluation.learned) or "baselines"
    return f"Evaluation of {subject} on {num_tasks} task{'s' * (num_tasks != 1)}"


def _subtitle(evaluation: Evaluation, tasks: list[Setting]) -> str:
    summary = evaluation.summary
    parts = [f"{sum(x.held_out for x in tasks)} of the tasks are held out"]
    count = len(evaluation.baselines)
    parts.append(f"against {count} baseline{'s' * (count != 1)}")
    for field, noun in (("num_steps", "inner steps"), ("num_seeds", "seeds")):
        if (count := form(summary.get(field), ",.0f")) != ABSENT:
            parts.append(f"{count} {noun}")
    return ", ".join(parts) + "."


def _together(evaluation: Evaluation, lines: Mapping[str, Line]) -> list[Panel]:
    everywhere = [
        *held_out(evaluation),
        *(x for x in evaluation.settings if not x.axis and not x.held_out),
        *changed(evaluation),
    ]
    made = [
        evaluation_figures.ratios(f"ratios-{i}", name, evaluation.verdict(name).of(everywhere))
        for i, name in enumerate(evaluation.learned)
    ]
    made += [
        evaluation_figures.iqm(evaluation, lines),
        evaluation_figures.profile(evaluation, lines),
    ]
    return [panel for panel in made if panel]


def _all_curves(
    evaluation: Evaluation, setting: Setting, name: str, lines: Mapping[str, Line]
) -> list[Panel]:
    """Losses and accuracy of one task over inner steps."""
    made = (
        evaluation_figures.curves(evaluation, setting, column, f"{name}-{column}", lines)
        for column in CURVES
    )
    return [panel for panel in made if panel]


def _bundles(evaluation: Evaluation, remarks: list[str]) -> dict[str, Any]:
    """The bundles of learned optimizers that are still where they were, by name."""
    found = {}
    for entry in evaluation.rows("optimizers"):
        if isinstance(path := entry.get("bundle"), str):
            bundle = update_rules.load(epath.Path(path), remarks)
            found |= {str(entry.get("name")): bundle} if bundle else {}
    return found


def _with_divergence(evaluation: Evaluation) -> list[Setting]:
    """Where a run of any optimizer diverged."""
    names = evaluation.optimizers
    rates = {
        x: [evaluation.value(x, name, "diverged") for name in names] for x in evaluation.settings
    }
    return [x for x, found in rates.items() if any(found)]
