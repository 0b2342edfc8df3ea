"""The pictures that a run leaves in its folder, as ``lopt report`` draws them."""

from pathlib import Path

from launch.report import evaluation_figures, run_figures, run_folder
from meta_train.figures import styles


def write(folder: Path) -> None:
    """Write meta_loss and, where the run has ended with one, comparison, as PNG."""
    run = run_folder.read(folder)
    with styles.drawing():
        made = [run_figures.meta_loss(run)]
        if run.comparison is not None:
            made.append(evaluation_figures.side_by_side(run.comparison, "comparison"))
        for panel in made:
            if panel is not None:
                panel.save(folder, ["png"])
