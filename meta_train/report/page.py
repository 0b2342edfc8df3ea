"""The page about a folder: what kind it is, its content, and the templates filled with it."""

from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from typing import Any

import jinja2
from etils import epath

from meta_train.evaluation import Evaluation
from meta_train.evaluation.evaluation import SUMMARY
from meta_train.figures import styles
from meta_train.figures.panels import Panel
from meta_train.report import evaluation_page, experiment_page, run_page
from meta_train.report.experiment_page import Figure
from meta_train.run import run_folder
from meta_train.versions import versions


class NoPage(ValueError):
    """A folder that no page can be made of; the message says why."""


def make(folder: epath.PathLike, figures: epath.PathLike | None = None) -> str:
    """The page about what a folder holds; a whole HTML page that refers to nothing outside.

    Args:
        folder: work folder of a run, of an evaluation (``Evaluation.save``), or of an experiment.
        figures: folder into which each figure is written too, as PNG and PDF.

    Raises:
        NoPage: it is none of them, or the evaluation or experiment is not finished or damaged.
        OSError: the figures cannot be written.
    """
    with styles.drawing():
        template, content = _content(epath.Path(folder))
        text = _fill(template, content)
        if figures is not None:
            figures = epath.Path(figures)
            figures.mkdir(parents=True, exist_ok=True)
            for panel in _panels(content):
                panel.save(figures)
    return text


def _content(folder: epath.Path) -> tuple[str, dict[str, Any]]:
    """Template and content of the page."""
    summary = run_folder.read_json(folder / SUMMARY, dict, [])
    if summary and "experiment" in summary:
        return "experiment.html", experiment_page.content(summary, folder)
    if (folder / SUMMARY).exists():
        try:
            evaluation = Evaluation.load(folder)
        except ValueError as error:
            raise NoPage(str(error)) from error
        return "evaluation.html", evaluation_page.content(evaluation, folder)
    if run_folder.is_run(folder):
        return "run.html", run_page.content(run_folder.read(folder))
    raise NoPage(
        f"{folder} is the work folder of no run (it has neither metrics.jsonl nor checkpoints/) "
        "and of no finished evaluation or experiment (it has no summary.json); give the --workdir "
        "of lopt meta-train, lopt evaluate or lopt reproduce"
    )


def _fill(template: str, content: Mapping[str, Any]) -> str:
    """Fill one of the templates beside this file; text from outside is escaped."""
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("meta_train.report"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    made = {
        "on": datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
        "by": versions(["lopt"])["lopt"],
    }
    return environment.get_template(template).render(**content, made=made)


def _panels(content: Any) -> Iterator[Panel | Figure]:
    """All figures in a page's content, however deep."""
    if isinstance(content, Panel | Figure):
        yield content
    elif isinstance(content, Mapping):
        yield from _panels(list(content.values()))
    elif isinstance(content, list | tuple):
        for entry in content:
            yield from _panels(entry)
