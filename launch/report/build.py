"""Which page a folder gets."""

from pathlib import Path

from launch import cache, errors
from launch.report import evaluation_folder, evaluation_report, page, run_folder, run_report, styles


def make(folder: Path) -> str:
    """The page about a run or an evaluation.

    Args:
        folder: work folder of ``lopt meta-train`` or ``lopt evaluate``.

    Raises:
        UserError: it is neither, or the evaluation is not finished or damaged.
    """
    cache.enable()
    with styles.drawing():
        if evaluation_folder.is_evaluation(folder):
            evaluation = evaluation_folder.read(folder)
            return page.render(evaluation_report.TEMPLATE, evaluation_report.content(evaluation))
        if run_folder.is_run(folder):
            return page.render(run_report.TEMPLATE, run_report.content(run_folder.read(folder)))
    raise errors.UserError(
        f"{folder} is the work folder of no run (it has neither metrics.jsonl nor checkpoints/) "
        "and of no finished evaluation (it has no summary.json); give the --workdir of lopt "
        "meta-train or lopt evaluate"
    )
