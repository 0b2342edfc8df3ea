import json

import numpy as np
import pytest

from launch import cli
from meta_train.experiments.experiment import Finding, Outcome, Part, Plan, Table
from meta_train.experiments.run import reproduce
from meta_train.figures import panels
from meta_train.figures.panels import Panel
from meta_train.report.page import make as make_page
from tests.launch.report import reading
from tests.launch.report.conftest import HOSTILE

NAME = "variance"
POINTS = 40


class Small(Plan):
    """Two methods, two seeds; one expectation holds."""

    def parts(self):
        return [
            Part(f"{HOSTILE}, seed {seed}", {"seed": seed}, lambda: [0.5] * POINTS, lambda _: "0.5")
            for seed in range(2)
        ]

    def outcome(self, name, values):
        figure, axes = panels.new(HOSTILE, "meta-steps", "loss")
        axes.pcolormesh(np.eye(3), rasterized=True)
        axes.plot([0, 3], [0, 3], label=HOSTILE)
        rows = [
            (name, method, seed, step, f"{value + step / 8:.4g}")
            for method in ("pes", "es")
            for seed, run in enumerate(values)
            for step, value in enumerate(run)
        ]
        columns = ("experiment", "method", "seed", "meta_step", "value")
        findings = [Finding.of(HOSTILE, x == 1, f"{HOSTILE}: {x}, expected 1") for x in (1, 2)]
        tables = {"results": Table(columns, rows)}
        return Outcome(tables, [Panel(figure, f"{name}_map", f"map of {HOSTILE}")], findings)


@pytest.fixture
def folder(tmp_path):
    reproduce(NAME, Small(), tmp_path, lambda line: None)
    return tmp_path


@pytest.fixture
def text(folder):
    assert cli.main(["report", str(folder)]) == 0
    return (folder / "report.html").read_text(encoding="utf-8")


def test_page_is_whole_and_refers_to_nothing_outside(text):
    page = reading.check(text)
    sections = {"verdict", "figures", "results", "parts", "environment"}
    assert sections <= set(page.values("id"))
    assert page.tags.count("image") == 1
    assert "versions.jax" in page.text


def test_labels_are_text(text):
    assert HOSTILE not in text
    assert f"map of {HOSTILE}" in reading.Page(text).values("aria-label")


def test_verdict_against_what_is_expected(text):
    words = reading.Page(text).text
    assert "1 of 2 as expected." in words
    assert f"{HOSTILE}: 1, expected 1: holds" in words
    assert f"{HOSTILE}: 2, expected 1: DOES NOT HOLD" in words


def test_table_ends_every_method_and_seed(text):
    assert f"The last of the {4 * POINTS} rows of results.csv" in text
    assert text.count('<td class=" ">5.375</td>') == 4
    assert "0.625" not in text


def test_figures_are_copied(folder, tmp_path):
    make_page(folder, tmp_path / "figures")
    names = {x.name for x in (tmp_path / "figures").iterdir()}
    assert names == {f"{NAME}_map.png", f"{NAME}_map.pdf"}


@pytest.mark.parametrize(
    "content",
    ["<svg", "<html/>", None],
)
def test_figure_that_cannot_be_read_is_left_out(folder, content):
    path = folder / f"{NAME}_map.svg"
    path.unlink() if content is None else path.write_text(content)
    page = reading.check(make_page(folder))
    assert f"{NAME}_map.svg is left out: " in page.text
    assert "figures" not in page.values("id")


def test_what_could_run_is_not_taken_over(folder):
    path = folder / f"{NAME}_map.svg"
    path.write_text(
        '<svg xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink" '
        'onload="alert(1)"><script>alert(2)</script><path d="M 1.0004 2"/>'
        '<image xlink:href="https://example.org/x.png"/><foreignObject/></svg>'
    )
    text = make_page(folder)
    page = reading.check(text)
    assert "alert(1)" not in text
    assert "alert(2)" not in text
    assert "foreignobject" not in page.tags
    assert 'd="M 1 2"' in text


def test_experiment_that_is_no_longer_known_has_its_page(folder, edit_json):
    edit_json(folder / "summary.json", lambda x: x.update(experiment="former", expected=3))
    page = reading.check(make_page(folder))
    assert "Experiment former" in page.text
    assert "0 of 0 as expected." in page.text


def test_times_and_values_of_parts_are_kept(folder):
    summary = json.loads((folder / "summary.json").read_text())
    labels = [f"{HOSTILE}, seed {seed}" for seed in range(2)]
    assert [x["label"] for x in summary["parts"]] == labels
    assert all(x["found"] == "0.5" and x["seconds"] >= 0 for x in summary["parts"])
