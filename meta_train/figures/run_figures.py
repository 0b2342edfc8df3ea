"""Figures of a meta-training run, for its page and as the pictures that it leaves in its folder."""

import numpy as np
from etils import epath
from matplotlib.axes import Axes

from meta_train.figures import evaluation_figures, panels, styles
from meta_train.figures.panels import Panel
from meta_train.figures.styles import BLUE, GREEN, ORANGE, VERMILLION, Line
from meta_train.run import run_folder
from meta_train.run.run_folder import RunFolder, Series

_WIDE = (5.0, 3.2)
_META_LOSSES = 40
"""Most points of the meta-loss; each averages over many of its particles' clocks."""


def write(folder: epath.PathLike) -> None:
    """Write meta_loss and, where the run has ended with one, comparison, as PNG."""
    folder = epath.Path(folder)
    run = run_folder.read(folder)
    with styles.drawing():
        made = [meta_loss(run)]
        if run.comparison is not None:
            made.append(evaluation_figures.side_by_side(run.comparison, "comparison"))
        for panel in made:
            if panel is not None:
                panel.save(folder, ["png"])


def meta_loss(run: RunFolder) -> Panel | None:
    """Meta-loss over meta-steps, averaged over blocks, and the meta-validation."""
    trained, validated = run.series("meta_loss"), run.series("meta_valid_loss")
    if not np.isfinite([*trained.values, *validated.values]).any():
        return None
    figure, axes = panels.new("Meta-loss", "meta-step", "loss per inner step", *_WIDE)
    _draw_losses(axes, trained, validated)
    caption = (
        "Training loss per inner step, averaged over the particles of a meta-step, theta "
        "perturbed. "
        "Meta-validation is the same loss over whole episodes with theta unperturbed."
    )
    return Panel(figure, "meta_loss", "Meta-loss over meta-steps", caption)


def _draw_losses(axes: Axes, trained: Series, validated: Series) -> None:
    """Draw the meta-loss, averaged over blocks, and the meta-validation.

    Particles whose clocks are staggered make the meta-loss rise and fall with every truncation, by
    more than it changes in a run; neither that range nor single values are drawn.
    """
    found = panels.blocks(*trained, most=_META_LOSSES)
    if np.isfinite(found.mean).any():
        label = "meta-loss" if found.size == 1 else f"meta-loss, mean of {found.size} records"
        axes.plot(found.steps, found.mean, color=BLUE, linewidth=1.8, label=label)
    if len(validated.steps):
        axes.plot(*validated, color=VERMILLION, linewidth=0, marker="o", markersize=4,
                  label="meta-validation, fresh seeds")  # fmt: skip
    panels.scale_losses(axes, [found.mean, validated.values])
    axes.legend(frameon=False)


def diagnostics(run: RunFolder) -> list[Panel]:
    """What the records say about the estimator and its speed."""
    wanted = (
        ("grad_norm", "Gradient norm", "norm of the meta-gradient", BLUE, True),
        ("snr", "Signal to noise", "snr of the meta-gradient", GREEN, True),
        ("inner_steps_per_s", "Speed", "inner steps per second", ORANGE, False),
    )
    made = [*(_series_panel(run, *entry) for entry in wanted), _bad_panel(run)]
    return [panel for panel in made if panel is not None]


def _series_panel(
    run: RunFolder, name: str, title: str, ylabel: str, color: str, log: bool
) -> Panel | None:
    series = run.series(name)
    if not np.isfinite(series.values).any():
        return None
    found = panels.blocks(series.steps, series.values)
    figure, axes = panels.new(title, "meta-step", ylabel)
    axes.fill_between(found.steps, found.low, found.high, color=color, alpha=0.2, linewidth=0)
    axes.plot(found.steps, found.mean, color=color, linewidth=1.5)
    low, high = np.nanmin(found.low), np.nanmax(found.high)
    if log and low > 0 and high > 3 * low:
        panels.set_log(axes, low / 1.1, high * 1.1)
    elif low >= 0:
        axes.set_ylim(0, 1.08 * high or 1.0)
    return Panel(figure, f"series-{name}", f"{title} over meta-steps")


def _bad_panel(run: RunFolder) -> Panel | None:
    """Diverged particles and skipped meta-steps, added up; None where there were none."""
    columns = {"diverged particles": "diverged", "skipped meta-steps": "skipped"}
    counts = {label: run.series(name) for label, name in columns.items()}
    if not any(np.nansum(series.values) for series in counts.values()):
        return None
    figure, axes = panels.new("Diverged and skipped", "meta-step", "number so far")
    lines = (Line(VERMILLION, (), 1.6), Line(BLUE, (6, 2), 1.6))
    for (label, series), line in zip(counts.items(), lines, strict=True):
        axes.step(series.steps, np.cumsum(np.nan_to_num(series.values)), where="post", label=label,
                  **line.kwargs())  # fmt: skip
    axes.set_ylim(bottom=0)
    axes.legend()
    return Panel(figure, "bad", "Diverged particles and skipped meta-steps so far")
