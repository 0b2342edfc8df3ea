"""Evaluations from Python: what they come to, how they are kept, and what is refused."""

import dataclasses
import json

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import lopt
import tasks
from meta_train.evaluation import (
    Baseline,
    Budget,
    Evaluation,
    Plan,
    Range,
    Store,
    Workload,
    baseline,
    evaluate,
    learned,
    train,
)
from meta_train.evaluation.evaluation import CURVES
from meta_train.evaluation.measures import MEASURES, Measure
from meta_train.evaluation.optimizers import with_tuned_multiplier
from meta_train.evaluation.training import advance, make_problem, validate
from meta_train.evaluation.verdict import HIGHER, LOWER

STEPS = 20
PLAN = Plan(num_seeds=2, num_points=4, valid_batches=1, budget=Budget(2, 1))
BOWL = Workload("bowl", tasks.make("quadratic", dim=2), STEPS)
SUITE = [
    BOWL,
    Workload("wine", tasks.make("wine_mlp", hidden=()), STEPS),
    dataclasses.replace(BOWL, axis="longer", num_steps=2 * STEPS),
    dataclasses.replace(BOWL, axis="told x3", declared_num_steps=3 * STEPS),
]


def sgd(rate, name):
    """A learned optimizer without meta-training, whose rate falls with t / T."""
    rule = lopt.LOPTS["sgd_schedule"](schedule="linear", learning_rate=rate)
    return learned(lopt.Bundle(rule, rule.init(jax.random.key(0)), {}), name)


@pytest.fixture(scope="module")
def optimizers():
    return [sgd(0.3, "good"), sgd(1e-4, "slow"), baseline("sgd_momentum", "sgd", momentum=0.5)]


@pytest.fixture(scope="module")
def finished(optimizers):
    return evaluate(optimizers, SUITE, PLAN)


def test_every_optimizer_is_judged_on_every_workload(finished):
    assert [x.title for x in finished.settings] == [
        "bowl", "wine", "bowl, longer", "bowl, told x3",
    ]  # fmt: skip
    assert finished.optimizers == ["good", "slow", "sgd"]
    assert len(finished.measures) == 4 * 3
    assert {x["task"] for x in finished.rows("tuned")} == {"bowl", "wine"}
    bowl, wine, longer, told = finished.settings
    assert finished.value(bowl, "sgd", "mean_loss") == finished.value(told, "sgd", "mean_loss")
    assert finished.value(bowl, "good", "mean_loss") != finished.value(told, "good", "mean_loss")
    assert finished.value(wine, "good", "final_valid_accuracy") is not None
    assert finished.value(longer, "nobody", "mean_loss") is None


def test_the_verdict_is_by_the_mean_loss(finished):
    bowl = finished.settings[0]
    losses = {x: finished.value(bowl, x, "mean_loss") for x in finished.optimizers}
    duel = finished.verdict("slow").duels[bowl]
    assert (duel.best.optimizer, duel.best.mean) == ("sgd", losses["sgd"])
    assert duel.outcome == (HIGHER if losses["slow"] > losses["sgd"] else LOWER)
    assert str(finished.verdict("slow")).startswith(f"bowl: slow {losses['slow']:.4g}, ")
    with pytest.raises(KeyError, match="'sgd' is none of good, slow"):
        finished.verdict("sgd")


def test_tables_have_a_row_for_each(finished):
    # A heading for each workload; told a wrong number of steps, only the learned ones.
    assert finished.table().row_count == 4 + 3 * 3 + 2
    assert finished.aggregate().row_count == 3
    assert finished.comparisons().row_count == len(finished.rows("comparisons")) > 0


def test_a_measure_is_one_entry(optimizers, monkeypatch):
    first = Measure(lambda x: float(x.curves.train_loss[:, 0].mean()), column="first")
    monkeypatch.setitem(MEASURES, "first_loss", first)
    found = evaluate(optimizers[2:], [BOWL], PLAN)
    value = found.value(found.settings[0], "sgd", "first_loss")
    losses = found.curves["train_loss"]["bowl", "", "sgd"].values
    assert value == pytest.approx(losses[:, 0].mean(), rel=1e-5)
    assert f"{value:.3g}" in list(found.table().columns[-1].cells)


def test_it_is_read_as_it_was_saved(finished, tmp_path):
    finished.save(tmp_path)
    read = Evaluation.load(tmp_path)
    assert read.summary == finished.summary
    assert read.verdict("good") == finished.verdict("good")
    for name in CURVES:
        assert list(read.curves[name]) == list(finished.curves[name])
        for key, curve in finished.curves[name].items():
            np.testing.assert_array_equal(read.curves[name][key].steps, curve.steps)
            np.testing.assert_allclose(read.curves[name][key].values, curve.values, rtol=1e-5)


def test_what_is_in_the_store_is_not_trained_again(finished, optimizers, tmp_path, monkeypatch):
    first = evaluate(optimizers, SUITE, PLAN, Store([tmp_path]))
    monkeypatch.setattr("meta_train.evaluation.judge.Runner.__call__", None)
    again = evaluate(optimizers, SUITE, PLAN, Store([tmp_path]))
    assert again.summary["measures"] == first.summary["measures"]
    losses = {key: row["mean_loss"] for key, row in finished.measures.items()}
    assert {key: row["mean_loss"] for key, row in again.measures.items()} == losses
    with pytest.raises(TypeError):
        evaluate(optimizers, SUITE, dataclasses.replace(PLAN, seed=1), Store([tmp_path]))


def test_data_are_hashed_and_costs_measured_only_for_who_asks(
    finished, optimizers, monkeypatch, tmp_path
):
    monkeypatch.setattr("meta_train.evaluation.identity.fingerprint", None)
    evaluate(optimizers[2:], [BOWL], PLAN)
    with pytest.raises(TypeError):
        evaluate(optimizers[2:], [BOWL], PLAN, Store([tmp_path]))
    assert finished.rows("costs") == []
    costs = finished.with_costs(optimizers).rows("costs")
    assert [x["optimizer"] for x in costs] == ["good", "slow", "sgd"]
    assert all(x["ns_per_parameter"] > 0 for x in costs)


@pytest.mark.parametrize("tuning_seeds", [1, 3])
def test_searches_are_on_other_seeds_than_all_are_judged_on(tuning_seeds, tmp_path):
    of = Baseline(optax.sgd, {"learning_rate": Range(0.1, 0.1, 0.1)})
    plan = dataclasses.replace(PLAN, budget=Budget(1, 0), tuning_seeds=tuning_seeds)
    judged = evaluate([baseline(of, "sgd")], [BOWL], plan, Store([tmp_path]))
    (search,) = (json.loads(file.read_text())["value"] for file in tmp_path.glob("*.json"))
    tuning, judging = (jax.random.fold_in(jax.random.key(plan.seed), use) for use in (0, 1))
    of_search = [tuning] if tuning_seeds == 1 else list(jax.random.split(tuning, tuning_seeds))
    seeds = [*of_search, *jax.random.split(judging, plan.num_seeds)]
    losses = [float(jnp.mean(train(BOWL.task, optax.sgd(0.1), STEPS, key))) for key in seeds]
    found = judged.measures["bowl", "", "sgd"]["by_seed"]["mean_loss"]
    score = np.mean(losses[:tuning_seeds])
    assert [search["trials"][0][0], *found] == pytest.approx([score, *losses[tuning_seeds:]], 1e-4)
    assert len({round(x, 3) for x in losses}) == len(losses)


def test_validation_is_of_the_average():
    rate = {"learning_rate": 0.1}
    found = evaluate([baseline("schedule_free", **rate)], [BOWL], PLAN)
    optimizer, losses = optax.contrib.schedule_free_adamw(0.1), []
    for key in jax.random.split(jax.random.fold_in(jax.random.key(PLAN.seed), 1), PLAN.num_seeds):
        cfg, params, step_keys, valid_key = make_problem(BOWL.task, key, STEPS)
        state = optimizer.init(params)
        params, state, _ = advance(BOWL.task, optimizer, cfg, params, state, step_keys)
        judged = optax.contrib.schedule_free_eval_params(state, params)
        losses.append(float(validate(BOWL.task, cfg, judged, valid_key, PLAN.valid_batches)[0]))
    value = found.value(found.settings[0], "schedule_free", "final_valid_loss")
    assert value == pytest.approx(np.mean(losses), rel=1e-4)


def test_a_run_that_diverges_has_no_loss_and_loses():
    wild = baseline("sgd_momentum", "wild", learning_rate=1e30)
    found = evaluate([sgd(0.3, "good"), wild], [BOWL], PLAN)
    assert found.value(found.settings[0], "wild", "mean_loss") is None
    assert found.measures["bowl", "", "wild"]["diverged"] == 1.0
    assert "no baseline has a finite loss" in str(found.verdict("good"))
    assert np.isnan(found.curves["train_loss"]["bowl", "", "wild"].values[:, -1]).all()


def test_no_verdict_is_about_a_tuned_multiplier(optimizers):
    tuned = with_tuned_multiplier(optimizers[1])
    found = evaluate([tuned, optimizers[2]], [BOWL], PLAN)
    assert (found.learned, found.tuned) == ([], ["slow, multiplier tuned"])
    assert found.rows("tuned")[0]["hyperparameters"]["learning_rate_multiplier"] > 1


@pytest.mark.parametrize(
    ("suite", "plan", "message"),
    [
        ([], {}, "nothing to judge"),
        ([BOWL, BOWL], {}, "workload 'bowl' is there twice"),
        (SUITE[2:], {}, "bowl, longer changes a task that is not in the suite"),
        ([BOWL], {"num_points": 3}, "20 inner steps are no multiple of num_points = 3"),
        ([BOWL], {"num_seeds": 1}, "num_seeds = 1 must be at least 2"),
        ([BOWL], {"tuning_seeds": 0}, "tuning_seeds = 0 must be at least 1"),
        ([BOWL], {"criterion": "accuracy"}, "must be mean_loss or final_valid_loss"),
    ],
)
def test_mistakes(optimizers, suite, plan, message):
    with pytest.raises(ValueError, match=message):
        evaluate(optimizers, suite, dataclasses.replace(PLAN, **plan))


def test_mistakes_in_optimizers_and_workloads(optimizers):
    with pytest.raises(ValueError, match="optimizer 'good' is there twice"):
        evaluate([optimizers[0]] * 2, [BOWL], PLAN)
    with pytest.raises(ValueError, match="nothing to judge"):
        evaluate([], [BOWL], PLAN)
    with pytest.raises(KeyError, match="adamm"):
        baseline("adamm")
    with pytest.raises(ValueError, match="no_bundle"):
        learned("no_bundle")
    with pytest.raises(ValueError, match="set = 'test' must be one of"):
        dataclasses.replace(BOWL, set="test")
    with pytest.raises(ValueError, match="declared_num_steps = 0 must be at least 1"):
        dataclasses.replace(BOWL, declared_num_steps=0)


def test_what_is_not_there_cannot_be_loaded(tmp_path):
    with pytest.raises(ValueError, match=r"summary\.json cannot be read"):
        Evaluation.load(tmp_path)
