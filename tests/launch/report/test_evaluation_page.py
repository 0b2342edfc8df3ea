import json
import math
import re

import pytest

from meta_train.evaluation import Evaluation
from meta_train.evaluation.measures import MEASURES, Measure
from meta_train.evaluation.sentences import sentences
from meta_train.report import page_tables
from meta_train.report.page import make as make_page
from tests.launch.report import reading
from tests.launch.report.conftest import HOSTILE, LEARNED, save_bundle, write_evaluation

TWO = ("adam", "muon")


@pytest.fixture
def page(evaluation_page):
    return evaluation_page.read_text(encoding="utf-8")


def test_page_is_whole_and_refers_to_nothing_outside(page):
    parsed = reading.check(page)
    sections = {"verdict", "together", "losses", "curves", "changes", "speed", "divergence"}
    assert sections | {"optimizers", "config", "environment"} <= set(parsed.values("id"))
    assert "secret" not in parsed.text  # folders of the machine


def test_labels_are_text(page):
    assert HOSTILE not in page
    assert HOSTILE in reading.Page(page).text


def test_page_says_where_the_learned_optimizer_loses(page):
    text = reading.Page(page).text
    assert f"It loses on {HOSTILE} (0.5, 2 times the 0.25 of adam)." in text
    assert "It wins on conv (0.2, 20.0 % below the 0.25 of adam)." in text
    assert "Changed tasks that it loses: conv, width x4 (diverged, against the 0.25 of " in text
    assert "Runs diverged on conv, width x4 (100 %)." in text
    assert "(at the edge)" in text


def test_every_row_of_losses_marks_its_best(page):
    losses = page[page.index('<section id="losses">') : page.index('<section id="curves">')]
    rows = re.findall(r"<tr>\s*<th scope=\"row\".*?</tr>", losses, flags=re.S)
    assert len(rows) == 8  # two tasks, four measures
    assert all(row.count("best") == 1 for row in rows if "%" in row or "\N{EN DASH}" not in row)


def test_a_new_measure_has_a_table(tmp_path, edit_json, monkeypatch):
    monkeypatch.setitem(
        MEASURES, "depth", Measure(lambda _: None, caption="Depth", page_spec=".1f")
    )
    folder = write_evaluation(tmp_path, ("conv",), baselines=TWO)
    edit_json(folder / "summary.json", lambda x: x["measures"][0].update(depth=3.14))
    page = reading.check(make_page(folder))
    assert "Depth" in page.text
    assert " 3.1 " in page.text


def test_evaluation_with_its_bundle_draws_the_rule(tmp_path, edit_json, monkeypatch):
    from meta_train.report import update_rules

    folder = write_evaluation(tmp_path, ("conv",), baselines=TWO)
    save_bundle(tmp_path / "bundle")
    (folder / "results.csv").unlink()
    where = {"bundle": str(tmp_path / "bundle")}
    edit_json(folder / "summary.json", lambda x: x["optimizers"][0].update(where))
    drawn = {}
    monkeypatch.setattr(update_rules, "draw", lambda bundles: drawn.update(bundles) or [])
    make_page(folder)
    assert list(drawn) == [LEARNED]


def drop_numbers(value):
    """The same JSON with null for every number of the measures and aggregates."""
    for row in [*value["measures"], *value["aggregate"]]:
        row |= {key: None for key, x in row.items() if not isinstance(x, str)}


@pytest.mark.parametrize(
    "change",
    [
        drop_numbers,
        lambda x: [x.pop(key) for key in list(x) if key not in ("kind", "format_version")],
        lambda x: x.update(
            profile=None, environment=None, tuned=None, costs=[None], reference=None
        ),
        lambda x: x["optimizers"].pop(0),
    ],
    ids=["nulls", "nothing but the kind", "sections of null", "no learned optimizer"],
)
def test_summary_with_gaps(tmp_path, edit_json, change):
    folder = write_evaluation(tmp_path, ("conv",), baselines=TWO)
    edit_json(folder / "summary.json", change)
    (folder / "results.csv").unlink()
    (folder / "config.json").write_text("{")
    page = reading.check(make_page(folder))
    assert "results.csv cannot be read" in page.text
    assert "config.json cannot be read" in page.text


def test_rows_that_are_damaged_are_left_out(tmp_path):
    folder = write_evaluation(tmp_path, ("conv",), baselines=TWO)
    lines = (folder / "results.csv").read_text().splitlines()
    lines[1:1] = ["conv,,adam,0,x,1,1,1", "conv", "conv,,adam,0,5,one,,"]
    (folder / "results.csv").write_text("\n".join(lines))
    read = Evaluation.load(folder)
    assert read.remarks == ("3 rows of results.csv cannot be read and are left out",)
    curve = read.curves["train_loss"]["conv", "width x4", LEARNED]
    assert curve.values.shape == (3, 11)
    assert not math.isfinite(curve.values[0, -1])


def test_meta_training_tasks_are_not_counted(tmp_path, edit_json):
    folder = write_evaluation(tmp_path, ("conv", "wine"), baselines=TWO)
    edit_json(folder / "summary.json", lambda x: x["tasks"][1].update(held_out=False))
    read = Evaluation.load(folder)
    assert "on 1 of 1 task," in sentences(read, LEARNED)[0]
    tasks = [x for x in read.settings if not x.axis]
    table = page_tables.measures(read, tasks, "losses")[0]
    assert table.rows[1][0].text == "wine (meta-training task)"
    edit_json(folder / "summary.json", lambda x: x["tasks"][1].update(set="validation"))
    assert Evaluation.load(folder).settings[1].title == "wine (validation task)"


def test_many_long_names(tmp_path):
    names = tuple(f"optimizer_with_a_rather_long_name_{i}" for i in range(12))
    folder = write_evaluation(tmp_path, ("task" * 30,), baselines=names)
    (folder / "results.csv").unlink()
    reading.check(make_page(folder))


def test_summary_survives_a_round_trip(tmp_path):
    folder = write_evaluation(tmp_path, ("conv",), baselines=TWO)
    summary = json.loads((folder / "summary.json").read_text())
    assert Evaluation.load(folder).summary == summary
