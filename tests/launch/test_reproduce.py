"""``lopt reproduce``: fair, resumable, and with the verdict that the numbers deserve."""

import contextlib
import csv
import dataclasses
import io
import json
import shutil
from typing import Any
from unittest import mock

import numpy as np
import pytest
from matplotlib.image import imread

from launch import cli
from meta_train.estimators.pes import PES
from meta_train.experiments import EXPERIMENTS, comparison
from meta_train.experiments.comparison import Expected

NAME = "toy_regression"
METHODS = ("pes", "truncated_bptt")


def quick(name) -> Any:
    return EXPERIMENTS[name].presets["quick"]()


def reproduce(folder, name, **changes):
    """What `lopt reproduce` prints for the quick preset of an experiment with other fields."""
    plan = dataclasses.replace(quick(name), **changes)
    changed = EXPERIMENTS[name]._replace(presets={"quick": lambda: plan})
    printed = io.StringIO()
    with mock.patch.dict(EXPERIMENTS, {name: changed}), contextlib.redirect_stdout(printed):
        assert cli.main(["reproduce", name, f"--workdir={folder}"]) == 0
    return printed.getvalue()


def small(folder, **changes):
    """Two methods for a few meta-steps, one as expected, one not."""
    whole = quick(NAME)
    surface = dataclasses.replace(
        whole.surface,
        horizontal=whole.surface.horizontal._replace(num_points=3),
        vertical=whole.surface.vertical._replace(num_points=2),
    )
    fields = {
        "methods": {name: whole.methods[name] for name in METHODS},
        "expected": (Expected("pes", 2000.0, 2600.0), Expected("truncated_bptt", 0.0, 600.0)),
        "meta_steps": 10,
        "num_seeds": 2,
        "num_points": 5,
        "surface": surface,
    }
    return reproduce(folder, NAME, **{**fields, **changes})


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """The folder of a small experiment, and what was printed."""
    folder = tmp_path_factory.mktemp(NAME)
    return folder, small(folder)


def rows_of(path):
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def found(folder):
    return json.loads((folder / "summary.json").read_text())["expected"]


def test_it_leaves_table_figure_and_verdict(finished):
    folder, shown = finished
    assert "4/5  truncated_bptt, seed 1: " in shown
    assert "5/5  surface: 3 x 2 points" in shown
    assert "1 of 2 as expected" in shown
    assert "truncated_bptt: 24" in shown
    assert "expected 0 to 600: DOES NOT HOLD" in shown
    rows = rows_of(folder / "results.csv")
    assert tuple(rows[0]) == comparison.COLUMNS
    assert len(rows) == 2 * 2 * 5
    assert {row["method"] for row in rows} == set(METHODS)
    assert all(int(row["inner_steps"]) == 1000 * int(row["meta_step"]) for row in rows)
    assert [entry["holds"] for entry in found(folder)] == [True, False]
    assert (folder / f"{NAME}.pdf").exists()
    assert imread(folder / f"{NAME}.png").std() > 0


def test_the_surface_has_its_points_and_paths(finished):
    folder, _ = finished
    surface, paths = (rows_of(folder / f"{name}.csv") for name in ("surface", "paths"))
    assert len(surface) == 3 * 2
    assert all(float(row["loss"]) > 500 for row in surface)
    assert len(paths) == 2 * 2 * 6
    assert {row["meta_step"] for row in paths[:2]} == {"0", "2"}
    assert [list(paths[0].values())[3:], list(surface[0].values())[:2]] == [
        ["-4", "-4"],
        ["-6", "-6"],
    ]
    assert imread(folder / f"{NAME}_surface.png").std() > 0


def test_report_makes_a_page_of_it(finished, tmp_path):
    out = tmp_path / "page.html"
    assert cli.main(["report", str(finished[0]), f"--out={out}"]) == 0
    page = out.read_text(encoding="utf-8")
    assert "1 of 2 as expected." in page
    assert page.count('role="img"') == 2


def test_what_is_finished_is_not_run_again(finished, tmp_path, monkeypatch):
    folder = shutil.copytree(finished[0], tmp_path / "again")
    before = (folder / "results.csv").read_bytes()
    lost = next(
        part for part in sorted((folder / "parts").iterdir()) if "values" in part.read_text()
    )
    lost.unlink()
    made = []
    trainer = comparison.MetaTrainer

    def counted(*arguments, **options):
        made.append(arguments)
        return trainer(*arguments, **options)

    monkeypatch.setattr(comparison, "MetaTrainer", counted)
    small(folder)
    assert len(made) == 1
    assert (folder / "results.csv").read_bytes() == before


def test_losses_that_are_not_finite_are_kept_and_never_hold(tmp_path):
    for _ in range(2):
        small(
            tmp_path,
            judge=lambda system, theta: theta["log_learning_rates"][0] * np.nan,
            surface=None,
        )
        assert not any(entry["holds"] for entry in found(tmp_path))


def test_learning_rate_falls_to_zero_where_it_decays():
    method = comparison.Method(PES(10, 5, num_pairs=1, std=0.1), "sgd", 0.5, decay_steps=4)
    optimizer = method.make_optimizer()
    assert method.make_optimizer() is optimizer
    state, steps = optimizer.init(np.float32(1)), []
    for _ in range(6):
        step, state = optimizer.update(np.float32(1), state)
        steps.append(float(step))
    expected = [-0.25 * (1 + np.cos(np.pi * min(i, 4) / 4)) for i in range(6)]
    np.testing.assert_allclose(steps, expected, atol=1e-7)


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_all_methods_have_the_same_budget(name):
    assert set(EXPERIMENTS[name].presets) == {"quick", "full"}
    plan = quick(name)
    plan = getattr(plan, "comparison", plan)
    if hasattr(plan, "methods"):
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


def test_truncations_go_the_wrong_way_and_pes_does_not(tmp_path):
    name = "influence_balancing"
    methods = quick(name).methods
    ends = {
        "pes": (0.0, 1.0),
        "truncated_es": (9.0, 15.0),
        "truncated_bptt, K = 10": (15.0, 200.0),
    }
    reproduce(
        tmp_path,
        name,
        methods={method: methods[method] for method in ends},
        expected=tuple(Expected(method, *bounds) for method, bounds in ends.items()),
        meta_steps=300,
        num_seeds=1,
        num_points=2,
    )
    assert [entry["words"] for entry in found(tmp_path) if not entry["holds"]] == []


@pytest.mark.slow
@pytest.mark.parametrize("name", EXPERIMENTS)
def test_what_is_expected_holds(name, tmp_path):
    assert cli.main(["reproduce", name, f"--workdir={tmp_path}"]) == 0
    assert [entry["words"] for entry in found(tmp_path) if not entry["holds"]] == []
