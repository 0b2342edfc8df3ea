"""Plots of a run; what the comparison says is in test_end_to_end.py and test_one_verdict.py."""

import json

import numpy as np
import pytest

from launch import plots
from meta_train.evaluation import Evaluation
from tests.launch.report.conftest import make_summary, write_results


def losses_of(steps):
    noise = 1 + 0.05 * np.random.default_rng(0).standard_normal(steps)
    return 1.5 * np.exp(-0.01 * np.arange(steps)) * noise + 0.05


def is_picture(path):
    from matplotlib.image import imread

    pixels = imread(path)
    return pixels.shape[0] > 300 and pixels.std() > 0


@pytest.mark.parametrize("labels", [("digits",), ("digits", "wine", "a", "b")])
def test_comparison_plot(labels, tmp_path):
    """With a run that diverged, whose loss is None and whose curve ends."""
    summary = make_summary(labels, baselines=("adam", "schedule_free"))
    write_results(tmp_path / "results.csv", summary)
    (tmp_path / "summary.json").write_text(json.dumps(summary))
    plots.plot_comparison(Evaluation.load(tmp_path), tmp_path / "comparison.png")
    assert is_picture(tmp_path / "comparison.png")


@pytest.mark.parametrize("steps", [1, 3, 500])
def test_meta_loss_plot(steps, tmp_path):
    losses = losses_of(steps)
    records = [{"meta_step": i + 1, "meta_loss": float(x)} for i, x in enumerate(losses)]
    records += [{"meta_step": i, "meta_valid_loss": 0.3 + 1 / i} for i in range(50, steps, 50)]
    records.append({"meta_step": steps, "meta_loss": None})
    plots.plot_meta_loss(records, tmp_path / "meta_loss.png")
    assert is_picture(tmp_path / "meta_loss.png")
