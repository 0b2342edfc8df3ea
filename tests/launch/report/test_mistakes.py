import tomllib
from pathlib import Path

import pytest

from tests.launch.report.conftest import write_evaluation, write_run

ROOT = Path(__file__).resolve().parents[3]


def test_no_folder_given(user_error):
    assert "DIR is missing" in user_error("report")


def test_folder_that_does_not_exist(user_error, tmp_path):
    assert "does not exist" in user_error("report", tmp_path / "nowhere")


def test_folder_of_neither_kind(user_error, tmp_path):
    (tmp_path / "config.json").write_text("{}")
    line = user_error("report", tmp_path)
    assert "metrics.jsonl" in line
    assert "summary.json" in line


def test_unknown_flag(user_error, tmp_path):
    assert "did you mean 'out'" in user_error("report", tmp_path, "--outt=x")


def test_page_that_cannot_be_written(user_error, tmp_path):
    folder = write_run(tmp_path / "run", bundle=False, compared=False)
    assert "no file in a folder that exists" in user_error("report", folder, f"--out={tmp_path}")
    nowhere = tmp_path / "nowhere" / "page.html"
    assert "no file in a folder that exists" in user_error("report", folder, f"--out={nowhere}")


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ("{", "cannot be read"),
        ("[]", "no summary of lopt evaluate"),
        ('{"kind": "other"}', "no summary of lopt evaluate"),
        ('{"kind": "lopt-evaluation", "format_version": 9}', "format version 9"),
    ],
)
def test_damaged_summary(user_error, tmp_path, content, expected):
    folder = write_evaluation(tmp_path, ("conv",), baselines=("adam",))
    (folder / "summary.json").write_text(content)
    assert expected in user_error("report", folder)
    assert not (folder / "report.html").exists()


def test_wheel_takes_every_template():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    patterns = project["tool"]["setuptools"]["package-data"]["meta_train.report"]
    package = ROOT / "meta_train" / "report"
    packaged = {file for pattern in patterns for file in package.glob(pattern)}
    assert packaged == {x for x in package.rglob("*") if x.suffix in (".html", ".css")}
