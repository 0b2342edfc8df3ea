import json
import re

import pytest
from matplotlib.image import imread

from launch import cli
from meta_train.figures import run_figures, styles
from meta_train.report.page import make as make_page
from meta_train.run import run_folder
from tests.launch.report import reading
from tests.launch.report.conftest import HOSTILE, write_run


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A finished run whose task has a hostile label, and the page that the command wrote."""
    folder = write_run(tmp_path_factory.mktemp("run") / "work", label=HOSTILE)
    assert cli.main(["report", str(folder)]) == 0
    return folder, (folder / "report.html").read_text(encoding="utf-8")


def test_page_is_whole_and_refers_to_nothing_outside(finished):
    page = reading.check(finished[1])
    sections = ("comparison", "meta-training", "rule", "config", "environment")
    assert [name for name in sections if name not in page.values("id")] == []
    assert "estimator.std" in page.text
    assert "0.0.1" in page.text
    for t in (0, 2, 20):  # up to the bundle's horizon
        assert f"sgd_schedule, t = {t} " in page.text or f"sgd_schedule, t = {t}\n" in page.text


def test_labels_are_text(finished):
    _, text = finished
    assert HOSTILE not in text
    assert "&lt;script&gt;" in text
    assert HOSTILE in reading.Page(text).text


def test_verdict_names_what_is_won_and_lost(finished):
    page = reading.Page(finished[1])
    assert "a lower mean training loss than the best tuned baseline on 1 of 2 tasks" in page.text
    assert "higher on wider (diverged, against the " in page.text


def test_best_in_the_table_is_bold(finished):
    bold = re.findall(r'<td class="[^"]*best[^"]*">([^<]*)</td>', finished[1])
    assert len(bold) == 7  # mean, final and validation loss of two tasks, accuracy of one


def test_the_same_folder_gives_the_same_figures(tmp_path):
    run = run_folder.read(write_run(tmp_path, bundle=False, compared=False))
    with styles.drawing():
        assert run_figures.meta_loss(run).svg == run_figures.meta_loss(run).svg


def test_figures_as_files(tmp_path):
    folder = write_run(tmp_path / "work")
    assert cli.main(["report", str(folder), f"--figures={tmp_path / 'new' / 'figures'}"]) == 0
    names = {path.name for path in (tmp_path / "new" / "figures").iterdir()}
    stems = {"meta_loss", "comparison-0", "comparison-1", "series-grad_norm", "rule-0-0", "bad"}
    assert {f"{stem}.{kind}" for stem in stems for kind in ("png", "pdf")} <= names
    assert len(names) == 2 * len({name.split(".")[0] for name in names})
    picture = imread(tmp_path / "new" / "figures" / "comparison-0.png")
    assert picture.shape[0] > 300
    assert picture.std() > 0


def test_figures_that_cannot_be_written(tmp_path, user_error):
    folder = write_run(tmp_path / "work", bundle=False)
    (tmp_path / "file").write_text("")
    line = user_error("report", folder, f"--figures={tmp_path / 'file' / 'figures'}")
    assert "cannot be written" in line
    assert "--figures" in line


def test_run_that_was_stopped(tmp_path):
    folder = write_run(tmp_path, compared=False, bundle=False)
    page = reading.check(make_page(folder))
    assert "Stopped, or still going, after meta-step 40 of 40" in page.text
    assert "comparison" not in page.values("id")
    assert "rule" not in page.values("id")


def test_run_of_which_only_checkpoints_are_left(tmp_path):
    (tmp_path / "checkpoints").mkdir()
    page = reading.check(make_page(tmp_path))
    assert "No meta-loss has been recorded yet" in page.text


def test_damaged_files_are_remarked_upon(tmp_path):
    folder = write_run(tmp_path, bundle=False)
    lines = (folder / "metrics.jsonl").read_text().splitlines()
    lines[3:5] = ["{", '{"meta_loss": 1.0}', "[" * 100000, "\x00\ufffd"]
    (folder / "metrics.jsonl").write_text("\n".join(lines))
    (folder / "comparison" / "summary.json").write_text('[{"task": ')
    (folder / "config.json").write_text("[]")
    (folder / "bundle").mkdir()
    page = reading.check(make_page(folder))
    assert "4 of 43 lines of metrics.jsonl cannot be read" in page.text
    assert "summary.json cannot be read" in page.text
    assert "config.json is left out" in page.text
    assert "the update rule is not drawn" in page.text


def test_values_that_are_no_numbers(tmp_path):
    folder = write_run(tmp_path, bundle=False)
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    for line in lines:
        line |= {"meta_loss": None, "grad_norm": None, "snr": "many", "diverged": None}
    (folder / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    summary = json.loads((folder / "comparison" / "summary.json").read_text())
    for entry in summary["measures"]:
        entry |= {"mean_loss": None, "final_loss": "many", "std_error": None}
    summary |= {"tuned": None, "costs": 3, "profile": []}
    (folder / "comparison" / "summary.json").write_text(json.dumps(summary))
    reading.check(make_page(folder))


def test_thousands_of_records_stay_small(tmp_path):
    run = run_folder.read(write_run(tmp_path, records=5000, compared=False, bundle=False))
    with styles.drawing():
        assert len(run_figures.meta_loss(run).svg) < 30_000
