"""A diagnosis as a whole: what it recommends, refuses, keeps and writes."""

import csv
import dataclasses
import json
from unittest import mock

import jax
import numpy as np
import pytest
from matplotlib.image import imread

from meta_train import ES, NRES, PES, RTRL, Execution
from meta_train.diagnosis import Plan, check, diagnose, samples, settings
from meta_train.diagnosis.plan import REFERENCE, fixed
from meta_train.variance import gradient_moments
from tests.meta_train.linear_losses import make

T, K = 24, 1
SYSTEM = make("independent", T, 4)
OWN = PES(T, K, num_pairs=2, std=0.1)
ESTIMATORS = {"pes": OWN, "nres": NRES(T, K, num_pairs=2, std=0.1)}
PLAN = Plan(
    truncation_lengths=(),
    num_pairs=(2,),
    std_factors=(),
    seconds=1e4,
    most_runs=1024,
    runs_at_once=256,
    grid=3,
    path_steps=40,
    execution=Execution("parallel"),
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("diagnosis")


@pytest.fixture(scope="module")
def plan(folder):
    return dataclasses.replace(PLAN, folder=folder / "parts")


@pytest.fixture(scope="module")
def told():
    return []


@pytest.fixture(scope="module")
def diagnosis(plan, told):
    def report(*words):
        told.append(words)

    return diagnose(SYSTEM, ESTIMATORS, SYSTEM.theta, plan, report)


def rate(estimator):
    """Signal-to-noise ratio per second of whole episodes, by other code than the diagnosis's."""
    found = gradient_moments(
        SYSTEM, dataclasses.replace(estimator, staggered=False), jax.random.key(9), SYSTEM.theta,
        num_runs=512, meta_steps=T // estimator.steps_per_truncation, runs_at_once=512,
        execution=Execution("parallel"),
    )  # fmt: skip
    return found.squared_norm / found.run_variance / found.seconds


def test_what_it_recommends_has_the_higher_ratio_per_second(diagnosis):
    """The gradients of 24 truncations are independent: PES has 14 times the variance of NRES."""
    found = diagnosis.recommendation
    assert found.changes
    assert (found.estimator, found.truncation_length, found.num_pairs) == ("nres", K, 2)
    assert found.std == 0.1
    assert found.gain.value - 2 * found.gain.error > 1
    assert rate(ESTIMATORS["nres"]) > rate(OWN)
    own, best = diagnosis.fresh
    assert own.variance.value > 5 * best.variance.value
    assert any(reason.startswith("estimator: nres instead of pes") for reason in found.reasons)
    assert "truncation_length stays: nothing else was measured." in found.reasons


def test_without_a_better_one_the_own_setting_stays(plan):
    small = dataclasses.replace(plan, most_runs=512, grid=0)
    found = diagnose(SYSTEM, {"nres": ESTIMATORS["nres"]}, SYSTEM.theta, small).recommendation
    assert not found.changes
    assert found.estimator == "nres"
    assert found.gain.value == 1
    assert "stays: no other that was measured is better" in found.reasons[0]


def test_the_same_call_again_measures_nothing(diagnosis, plan):
    with mock.patch.object(samples, "sample_runs", side_effect=AssertionError("measured")):
        again = diagnose(SYSTEM, ESTIMATORS, SYSTEM.theta, plan)
    assert json.dumps(again.plain()) == json.dumps(diagnosis.plain())


def test_it_tells_what_it_measures_and_the_time_left(diagnosis, told):
    words, left = zip(*told, strict=True)
    assert words[0] == "pes, K = 1, std x 1: 256 runs"
    assert words[-1] == "meta-loss around theta: 3 of 3 rows"
    assert list(left) == sorted(left, reverse=True)


def test_it_writes_table_summary_and_figures(diagnosis, folder):
    diagnosis.save(folder)
    with (folder / "table.csv").open(encoding="utf-8", newline="") as file:
        table = list(csv.DictReader(file))
    assert [row["estimator"] for row in table] == [REFERENCE, "pes", "nres"]
    assert float(table[1]["variance_error"]) > 0
    summary = json.loads((folder / "summary.json").read_text(encoding="utf-8"))
    assert summary["recommendation"]["estimator"] == "nres"
    assert summary["horizon"] == T
    assert np.shape(summary["landscape"]["raw"]) == (3, 3)
    for name in ("variance", "landscape"):
        picture = imread(folder / f"{name}.png")
        assert picture.min() < 0.3 < 0.9 < picture.max()
        assert (folder / f"{name}.pdf").stat().st_size > 5000
    shown = diagnosis.table()
    assert "nres" in shown
    assert max(len(line) for line in shown.splitlines()) <= 100


def test_the_meta_loss_of_a_linear_system_is_a_plane(diagnosis):
    found = diagnosis.landscape
    slope = np.linalg.norm(SYSTEM.gradient)
    np.testing.assert_allclose(found.raw, found.smoothed, atol=1e-4)
    steps = np.diff(found.raw, axis=0) / np.diff(found.places)[:, None]
    np.testing.assert_allclose(steps, steps.mean(), rtol=1e-3)
    assert 0.5 * slope < steps.mean() <= 1.001 * slope
    assert all(len(path) == PLAN.path_steps + 1 for path in found.paths.values())
    assert len(found.paths) == 2


@pytest.mark.parametrize(
    ("estimators", "changes", "message"),
    [
        ({}, {}, "give at least one estimator"),
        ({REFERENCE: OWN}, {}, "none of the name 'reference'"),
        ({"pes": PES(None, 5)}, {}, "horizon = None: a diagnosis compares"),
        ({"pes": OWN, "es": ES(5)}, {}, "es must have the horizon"),
        ({"rtrl": RTRL(6, 2)}, {}, "std = 0.0 of the first estimator"),
        (ESTIMATORS, {"truncation_lengths": (25,)}, r"pes: truncation_length = 25 \(K\) must lie"),
        (ESTIMATORS, {"truncation_lengths": (0,)}, "truncation_lengths holds 0"),
        (ESTIMATORS, {"num_pairs": (-2,)}, "num_pairs holds -2"),
        (ESTIMATORS, {"std_factors": (-1.0,)}, "std_factors holds -1.0"),
        (ESTIMATORS, {"seconds": -1.0}, "seconds = -1.0 must be above 0"),
        (ESTIMATORS, {"path_steps": 2}, "path_steps = 2 must be at least 3"),
        (ESTIMATORS, {"runs_at_once": 2}, "runs_at_once = 2 must be at least 3"),
    ],
)
def test_what_makes_no_sense_is_refused(estimators, changes, message):
    with pytest.raises(ValueError, match=message):
        check(estimators, dataclasses.replace(PLAN, **changes))


def test_settings_are_around_the_own_ones():
    estimators = fixed({"pes": PES(1000, 50), "rtrl": RTRL(1000, 50)})
    found = settings(estimators, Plan(std_factors=(0.5,)))
    assert [tuple(x) for x in found[:4]] == [
        (REFERENCE, 1000, 1.0),
        ("pes", 50, 1.0),
        ("rtrl", 50, 1.0),
        (REFERENCE, 1000, 0.5),
    ]
    # Divisors of T; an estimator without sigma has no other ones.
    assert {x.truncation_length for x in found if x.name == "pes"} == {10, 50, 200}
    assert {x.std_factor for x in found if x.name == "rtrl"} == {1.0}
