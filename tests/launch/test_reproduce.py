"""``lopt reproduce``: fair, resumable, and with the verdict that the numbers deserve."""

import csv
import dataclasses
import json

import numpy as np
import pytest
from matplotlib.image import imread

from launch import cli
from meta_train.experiments import EXPERIMENTS, comparison
from meta_train.experiments.comparison import Comparison, Expected

NAME = "toy_regression"
METHODS = ("pes", "truncated_bptt")


@pytest.fixture
def small(monkeypatch):
    """Two methods for a few meta-steps, one as expected, one not; changed by its arguments."""

    def use(**changes):
        whole = EXPERIMENTS[NAME].presets["quick"]()
        surface = dataclasses.replace(
            whole.surface,
            horizontal=whole.surface.horizontal._replace(num_points=3),
            vertical=whole.surface.vertical._replace(num_points=2),
        )
        plan = dataclasses.replace(
            whole,
            methods={name: whole.methods[name] for name in METHODS},
            expected=(Expected("pes", 2000.0, 2600.0), Expected("truncated_bptt", 0.0, 600.0)),
            meta_steps=100,
            num_seeds=2,
            surface=surface,
        )
        plan = dataclasses.replace(plan, **changes)
        changed = EXPERIMENTS[NAME]._replace(presets={"quick": lambda: plan})
        monkeypatch.setitem(EXPERIMENTS, NAME, changed)

    use()
    return use


def reproduce(folder):
    assert cli.main(["reproduce", NAME, f"--workdir={folder}"]) == 0


def rows_of(path):
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def test_it_leaves_table_figure_and_verdict(small, tmp_path, capsys):
    reproduce(tmp_path)
    shown = capsys.readouterr().out
    assert "4/5  truncated_bptt, seed 1: " in shown
    assert "5/5  surface: 3 x 2 points" in shown
    assert "1 of 2 as expected" in shown
    assert "truncated_bptt: 24" in shown
    assert "expected 0 to 600: DOES NOT HOLD" in shown
    rows = rows_of(tmp_path / "results.csv")
    assert tuple(rows[0]) == comparison.COLUMNS
    assert len(rows) == 2 * 2 * 50
    assert {row["method"] for row in rows} == set(METHODS)
    assert all(int(row["inner_steps"]) == 1000 * int(row["meta_step"]) for row in rows)
    summary = json.loads((tmp_path / "summary.json").read_text())
    assert [entry["holds"] for entry in summary["expected"]] == [True, False]
    assert (tmp_path / f"{NAME}.pdf").exists()
    assert imread(tmp_path / f"{NAME}.png").std() > 0


def test_the_surface_has_its_points_and_paths(small, tmp_path):
    reproduce(tmp_path)
    surface, paths = (rows_of(tmp_path / f"{name}.csv") for name in ("surface", "paths"))
    assert len(surface) == 3 * 2
    assert all(float(row["loss"]) > 500 for row in surface)
    assert len(paths) == 2 * 2 * 51
    assert {row["meta_step"] for row in paths[:2]} == {"0", "2"}
    assert [list(paths[0].values())[3:], list(surface[0].values())[:2]] == [
        ["-4", "-4"],
        ["-6", "-6"],
    ]
    assert imread(tmp_path / f"{NAME}_surface.png").std() > 0


def test_what_is_finished_is_not_run_again(small, tmp_path, monkeypatch):
    small(surface=None)
    reproduce(tmp_path)
    before = (tmp_path / "results.csv").read_bytes()
    lost, *_ = sorted((tmp_path / "parts").iterdir())
    lost.unlink()
    made = []
    trainer = comparison.MetaTrainer

    def counted(*arguments, **options):
        made.append(arguments)
        return trainer(*arguments, **options)

    monkeypatch.setattr(comparison, "MetaTrainer", counted)
    reproduce(tmp_path)
    assert len(made) == 1
    assert (tmp_path / "results.csv").read_bytes() == before


def test_losses_that_are_not_finite_are_kept_and_never_hold(small, tmp_path):
    small(judge=lambda system, theta: theta["log_learning_rates"][0] * np.nan, surface=None)
    for _ in range(2):
        reproduce(tmp_path)
        assert not any(
            x["holds"] for x in json.loads((tmp_path / "summary.json").read_text())["expected"]
        )


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_all_methods_have_the_same_budget(name):
    assert set(EXPERIMENTS[name].presets) == {"quick", "full"}
    plan = EXPERIMENTS[name].presets["quick"]()
    plan = getattr(plan, "comparison", plan)
    if isinstance(plan, Comparison):
        assert len({method.inner_steps for method in plan.methods.values()}) == 1
        assert {x.method for x in plan.expected} <= set(plan.methods)


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


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("mnist_schedule", "lopt data prepare mnist"),
        ("learned_optimizer", "prepare cifar10"),
        ("many_hyperparameters", "prepare fashion_mnist"),
    ],
)
def test_missing_data_are_a_mistake(user_error, monkeypatch, tmp_path, name, expected):
    monkeypatch.setenv("TFDS_DATA_DIR", str(tmp_path))
    assert expected in user_error("reproduce", name, "--preset=full")


FAST = "influence_balancing"


@pytest.mark.parametrize(
    "name", [FAST, *(pytest.param(x, marks=pytest.mark.slow) for x in EXPERIMENTS if x != FAST)]
)
def test_what_is_expected_holds(name, tmp_path):
    assert cli.main(["reproduce", name, f"--workdir={tmp_path}"]) == 0
    found = json.loads((tmp_path / "summary.json").read_text())["expected"]
    assert [entry["words"] for entry in found if not entry["holds"]] == []
