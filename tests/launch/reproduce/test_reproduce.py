"""``lopt reproduce``: fair, resumable, and with the verdict that the numbers deserve."""

import csv
import dataclasses
import json

import numpy as np
import pytest
from matplotlib.image import imread

from launch import cli
from launch.reproduce import run
from launch.reproduce.experiments import EXPERIMENTS, Expected, Preset

NAME = "toy_regression"
METHODS = ("pes", "truncated_bptt")


@pytest.fixture
def small(monkeypatch):
    """Two methods for a few meta-steps: one as expected, one not."""
    whole = EXPERIMENTS[NAME]
    methods = {name: whole.methods[name] for name in METHODS}
    expected = (Expected("pes", 2000.0, 2600.0), Expected("truncated_bptt", 0.0, 600.0))
    presets = {"quick": Preset(100, 2)}
    changed = dataclasses.replace(whole, methods=methods, expected=expected, presets=presets)
    monkeypatch.setitem(EXPERIMENTS, NAME, changed)


def reproduce(folder):
    assert cli.main(["reproduce", NAME, f"--workdir={folder}"]) == 0


def test_it_leaves_table_figure_and_verdict(small, tmp_path, capsys):
    reproduce(tmp_path)
    shown = capsys.readouterr().out
    assert "4/4  truncated_bptt, seed 1: " in shown
    assert "1 of 2 as expected" in shown
    assert "truncated_bptt: 24" in shown
    assert "expected 0 to 600: DOES NOT HOLD" in shown
    with (tmp_path / "results.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert tuple(rows[0]) == run.COLUMNS
    assert len(rows) == 2 * 2 * 50
    assert {row["method"] for row in rows} == set(METHODS)
    assert all(int(row["inner_steps"]) == 1000 * int(row["meta_step"]) for row in rows)
    summary = json.loads((tmp_path / "summary.json").read_text())
    assert [entry["holds"] for entry in summary["expected"]] == [True, False]
    assert (tmp_path / f"{NAME}.pdf").exists()
    assert imread(tmp_path / f"{NAME}.png").std() > 0


def test_what_is_finished_is_not_run_again(small, tmp_path, monkeypatch):
    reproduce(tmp_path)
    before = (tmp_path / "results.csv").read_bytes()
    lost, *_ = sorted((tmp_path / "parts").iterdir())
    lost.unlink()
    made = []
    trainer = run.MetaTrainer

    def counted(*arguments, **options):
        made.append(arguments)
        return trainer(*arguments, **options)

    monkeypatch.setattr(run, "MetaTrainer", counted)
    reproduce(tmp_path)
    assert len(made) == 1
    assert (tmp_path / "results.csv").read_bytes() == before


def test_losses_that_are_not_finite_are_kept_and_never_hold(small, tmp_path, monkeypatch):
    broken = dataclasses.replace(
        EXPERIMENTS[NAME], judge=lambda system, theta: theta["log_learning_rates"][0] * np.nan
    )
    monkeypatch.setitem(EXPERIMENTS, NAME, broken)
    for _ in range(2):
        reproduce(tmp_path)
        assert not any(
            x["holds"] for x in json.loads((tmp_path / "summary.json").read_text())["expected"]
        )


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_all_methods_have_the_same_budget(name):
    experiment = EXPERIMENTS[name]
    budgets = {
        label: (1 if run._is_lone(method.estimator) else 2)
        * method.estimator.num_groups
        * method.estimator.steps_per_truncation
        for label, method in experiment.methods.items()
    }
    assert set(budgets.values()) == {1000}, budgets
    assert {x.method for x in experiment.expected} <= set(experiment.methods)
    assert set(experiment.presets) == {"quick", "full"}


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ((), "NAME is missing"),
        (("toy_regresion",), "did you mean 'toy_regression'"),
        ((NAME, "--preset=ful"), "did you mean 'full'"),
        ((NAME, "more"), "unexpected argument 'more'"),
    ],
)
def test_mistakes(user_error, words, expected):
    assert expected in user_error("reproduce", *words)


@pytest.mark.slow
@pytest.mark.parametrize("name", EXPERIMENTS)
def test_what_is_expected_holds(name, tmp_path):
    assert cli.main(["reproduce", name, f"--workdir={tmp_path}"]) == 0
    found = json.loads((tmp_path / "summary.json").read_text())["expected"]
    assert [entry["words"] for entry in found if not entry["holds"]] == []
