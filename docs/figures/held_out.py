"""Draws held_out.png: the shipped optimizer and its rivals on every held-out task.

python docs/figures/held_out.py SMALL LARGE    # work folders of `lopt evaluate`, held_out and
                                               # held_out_large
"""

import sys
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np

from meta_train.evaluation import Evaluation
from meta_train.figures import styles

LEARNED, REFERENCE = "general", "adam"
RIVALS = {
    "adamw_cosine": ("AdamW, cosine decay, tuned on every task", "v", styles.GREY),
    "schedule_free": ("schedule-free AdamW, tuned on every task", "^", styles.ORANGE),
}
OUT = Path(__file__).with_name("held_out.png")


def ratios(folders: list[str], optimizer: str) -> dict[str, float]:
    """Mean training loss of an optimizer by task, over that of the reference."""
    found = {}
    for evaluation in map(Evaluation.load, folders):
        for setting in evaluation.settings:
            if setting.held_out and not setting.axis:
                losses = [evaluation.value(setting, x, "mean_loss") for x in (optimizer, REFERENCE)]
                found[setting.label] = losses[0] / losses[1]
    return found


def main(folders: list[str]) -> None:
    """Draw."""
    learned = ratios(folders, LEARNED)
    names = sorted(learned, key=learned.__getitem__)
    places = np.arange(len(names))
    figure, axes = plt.subplots(figsize=(9.0, 4.2), layout="constrained")
    axes.axhline(1.0, color=styles.BLACK, linewidth=1.0, label="Adam, tuned on every task")
    for rival, (label, marker, color) in RIVALS.items():
        heights = [ratios(folders, rival)[x] for x in names]
        axes.plot(places, heights, marker, color=color, markersize=5, label=label)
    heights = [learned[x] for x in names]
    axes.vlines(
        places, np.minimum(heights, 1), np.maximum(heights, 1), color=styles.BLUE, alpha=0.3
    )
    axes.plot(places, heights, "o", color=styles.BLUE, markersize=7, label="general: nothing tuned")
    axes.set_yscale("log")
    axes.set_ylim(0.25, 1.8)
    axes.set_yticks([0.25, 0.5, 1, 1.5], ["0.25", "0.5", "1", "1.5"])
    axes.minorticks_off()
    axes.set_xlim(-0.6, len(names) - 0.4)
    axes.set_xticks(places, [x.replace("_", " ") for x in names], rotation=55, ha="right")
    axes.set_ylabel("mean training loss, Adam's = 1")
    axes.grid(visible=False, axis="x")
    axes.legend(loc="lower right")
    figure.savefig(OUT, dpi=130)


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    with styles.drawing():
        main(sys.argv[1:])
