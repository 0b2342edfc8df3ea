"""Pictures of a run; what its comparison says is in test_end_to_end.py and test_one_verdict.py."""

import json

import pytest
from matplotlib.image import imread

from meta_train.figures import run_figures
from tests.launch.report.conftest import make_summary, write_results, write_run


def is_picture(path):
    pixels = imread(path)
    return pixels.shape[0] > 300 and pixels.std() > 0


@pytest.mark.parametrize("labels", [("digits",), ("digits", "wine", "a", "b")])
def test_pictures_of_a_run_that_was_compared(labels, tmp_path):
    """One run of a comparison diverged: its loss is None, and its curve ends."""
    folder = write_run(tmp_path, compared=False, bundle=False) / "comparison"
    folder.mkdir()
    summary = make_summary(labels, baselines=("adam", "schedule_free"))
    write_results(folder / "results.csv", summary)
    (folder / "summary.json").write_text(json.dumps(summary))
    run_figures.write(tmp_path)
    assert is_picture(tmp_path / "comparison.png")
    assert is_picture(tmp_path / "meta_loss.png")


@pytest.mark.parametrize("records", [1, 3, 500])
def test_pictures_of_a_run_that_was_not(records, tmp_path):
    run_figures.write(write_run(tmp_path, records=records, compared=False, bundle=False))
    assert is_picture(tmp_path / "meta_loss.png")
    assert not (tmp_path / "comparison.png").exists()
