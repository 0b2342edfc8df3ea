"""Which page a folder gets."""

from pathlib import Path

from launch import cache, errors
from launch.report import evaluation_report, page, run_folder, run_report, styles
from meta_train.evaluation.evaluation import SUMMARY


def make(folder: Path) -> str:
    """The page about a run or an evaluation.

    Args:
        folder: work folder of ``lopt meta-train`` or ``lopt evaluate``.

    Raises:
        UserError: it is neither, or the evaluation is not finished or damaged.
    """
    cache.enable()
    with styles.drawing():
        if (folder / SUMMARY).exists():
            with errors.from_library():
                content = evaluation_report.content(folder)
            return page.render(evaluation_report.TEMPLATE, content)
        if run_folder.is_run(folder):
            return page.render(run_report.TEMPLATE, run_report.content(run_folder.read(folder)))
    raise errors.UserError(
        f"{folder} is the work folder of no run (it has neither metrics.jsonl nor checkpoints/) "
        "and of no finished evaluation (it has no summary.json); give the --workdir of lopt "
        "meta-train or lopt evaluate"
    )
