"""The page about an evaluation: what stands in it."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from launch import workdir
from launch.report import (
    evaluation_figures,
    evaluation_tables,
    evaluation_words,
    rule_figure,
    rule_section,
    run_folder,
    tables,
)
from meta_train.evaluation import Evaluation
from meta_train.evaluation.evaluation import CURVES, Setting
from meta_train.figures import styles
from meta_train.figures.panels import Panel
from meta_train.figures.styles import Line

TEMPLATE = "evaluation.html"
_PLACES = ("data_dir", "cache_dir", "workers")
"""Fields of the config that say nothing outside the machine."""


class Drawn(NamedTuple):
    """One setting on the page."""

    title: str
    details: str
    panels: list[Panel]


def content(evaluation: Evaluation, folder: Path) -> dict[str, Any]:
    """What the template shows; to be called within ``styles.drawing()``.

    Args:
        evaluation: what the page is about.
        folder: where it is, and its config.
    """
    remarks = list(evaluation.remarks)
    config = run_folder.read_json(folder / workdir.CONFIG, dict, remarks) or {}
    lines = styles.lines(evaluation.learned, [*evaluation.tuned, *evaluation.baselines])
    tasks = [x for x in evaluation.settings if not x.axis]
    changed = evaluation_words.changed(evaluation)
    words = {name: evaluation_words.sentences(evaluation, name) for name in evaluation.learned}
    return {
        "title": _title(evaluation, len(tasks)),
        "subtitle": _subtitle(evaluation, tasks),
        "verdicts": words,
        "aggregate_table": evaluation_tables.aggregate(evaluation),
        "aggregate_panels": _together(evaluation, lines),
        "legend": lines,
        "losses": evaluation_tables.losses(evaluation, tasks),
        "tasks": [_draw(evaluation, x, f"task-{i}", lines) for i, x in enumerate(tasks)],
        "changed_losses": evaluation_tables.losses(evaluation, changed),
        "tuned_on_changes": any(row.get("axis") for row in evaluation.rows("tuned")),
        "changed_panels": _draw_changed(evaluation, lines),
        "speed": evaluation_tables.speed(evaluation),
        "diverged": evaluation_tables.diverged(evaluation),
        "divergence_known": any(
            x.get("diverged") is not None for x in evaluation.measures.values()
        ),
        "optimizers": evaluation_tables.optimizers(evaluation),
        "tuned": evaluation_tables.tuned(evaluation),
        "budget": tables.fields(_section(config, "tuning")),
        "rules": rule_section.draw(_bundles(evaluation, remarks)),
        "rule_legend": rule_figure.LEGEND,
        "rule_caption": rule_figure.CAPTION,
        "config": tables.facts({k: v for k, v in config.items() if k not in _PLACES}),
        "environment": tables.facts(evaluation.summary.get("environment") or {}),
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
        if tables.whole(summary.get(field)) != tables.ABSENT:
            parts.append(f"{tables.whole(summary[field])} {noun}")
    return ", ".join(parts) + "."


def _together(evaluation: Evaluation, lines: Mapping[str, Line]) -> list[Panel]:
    everywhere = [
        *evaluation_words.held_out(evaluation),
        *(x for x in evaluation.settings if not x.axis and not x.held_out),
        *evaluation_words.changed(evaluation),
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


def _draw(evaluation: Evaluation, setting: Setting, name: str, lines: Mapping[str, Line]) -> Drawn:
    made = (
        evaluation_figures.curves(evaluation, setting, column, f"{name}-{column}", lines)
        for column in CURVES
    )
    return Drawn(setting.title, setting.details, [panel for panel in made if panel])


def _draw_changed(evaluation: Evaluation, lines: Mapping[str, Line]) -> list[Panel]:
    made = (
        evaluation_figures.curves(
            evaluation, setting, "train_loss", f"changed-{i}", lines, title=setting.title
        )
        for i, setting in enumerate(evaluation_words.changed(evaluation))
    )
    return [panel for panel in made if panel]


def _bundles(evaluation: Evaluation, remarks: list[str]) -> dict[str, Any]:
    """Of the learned optimizers whose bundle is where it was."""
    found = {}
    for entry in evaluation.rows("optimizers"):
        if isinstance(path := entry.get("bundle"), str):
            bundle = rule_section.load(Path(path), remarks)
            found |= {str(entry.get("name")): bundle} if bundle else {}
    return found


def _section(config: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    section = config.get(name)
    return section if isinstance(section, Mapping) else {}
