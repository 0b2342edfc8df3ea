"""Learned optimizers against others over all tasks, and what a wrong number of steps costs."""

import copy

import pytest

from meta_train.evaluation import together
from meta_train.evaluation.comparisons import ITSELF, compare, merge

SEEDS = 2


def measure(task, optimizer, loss, axis="", valid=None, accuracy=None, micro=10.0):
    """A row of ``measures``; the seeds differ from the mean by a tenth."""
    seeds = [None] * SEEDS if loss is None else [0.9 * loss, 1.1 * loss]
    return {
        "task": task, "axis": axis, "optimizer": optimizer, "mean_loss": loss,
        "final_valid_loss": valid, "final_valid_accuracy": accuracy, "microseconds_per_step": micro,
        "by_seed": {"mean_loss": seeds, "final_valid_loss": [valid] * SEEDS},
    }  # fmt: skip


def setting(label, set_="held_out", axis="", declared=100):
    return {"label": label, "axis": axis, "set": set_, "num_steps": 100, "fields": {},
            "declared_num_steps": declared}  # fmt: skip


def summary_of(tasks, measures):
    names = dict.fromkeys(x["optimizer"] for x in measures)
    return {
        "tasks": tasks,
        "measures": measures,
        "optimizers": [
            {"name": x, "kind": "learned" if x == "mine" else "baseline", "description": x}
            for x in names
        ],
        "reference": ["adam", "adamw"],
        "num_steps": 100,
        "num_seeds": SEEDS,
        "comparisons": [],
    }


TWO = summary_of(
    [setting("a"), setting("b"), setting("seen", "validation")],
    [
        measure("a", "mine", 1.0, valid=3.0, accuracy=0.8, micro=12.0),
        measure("a", "adam", 2.0, valid=2.0, accuracy=0.9),
        measure("a", "adamw", 1.6, valid=4.0, accuracy=0.7),
        measure("b", "mine", 3.0, valid=1.0, micro=18.0),
        measure("b", "adam", 2.0, valid=2.0),
        measure("b", "adamw", None, valid=None),
        measure("seen", "mine", 1e-9, valid=1e-9),
        measure("seen", "adam", 1.0, valid=1.0),
        measure("seen", "adamw", 1.0, valid=1.0),
    ],
)


def rows(summary):
    return {(x["to"], x["measure"]): x for x in compare(summary)}


def test_ratios_are_over_held_out_tasks():
    found = rows(TWO)
    assert len(found) == 3 * 2
    adam = found["adam", "mean_loss"]
    assert (adam["better"], adam["tasks"]) == (1, 2)
    # Of .45, .55, 1.35 and 1.65 the middle two.
    assert adam["iqm"] == pytest.approx((0.55 + 1.35) / 2)
    assert adam["iqm_low"] <= adam["iqm"] <= adam["iqm_high"]
    assert (adam["worst"], adam["worst_task"]) == (pytest.approx(1.5), "b")
    assert found["adam", "final_valid_loss"]["worst"] == pytest.approx(1.5)
    assert found["adam", "final_valid_loss"]["worst_task"] == "a"


def test_the_best_of_the_reference_is_chosen_on_each_task_and_for_each_loss():
    found = rows(TWO)
    mean = found["best of adam, adamw", "mean_loss"]
    assert mean["iqm"] == pytest.approx((1.1 / 1.6 + 1.35) / 2)  # .5625, .6875, 1.35, 1.65
    valid = found["best of adam, adamw", "final_valid_loss"]
    assert valid["iqm"] == pytest.approx((0.5 + 1.5) / 2)


def test_accuracy_and_time():
    adam = rows(TWO)["adam", "mean_loss"]
    assert adam["accuracy_difference"] == pytest.approx(-0.1)
    assert adam["lowest_accuracy_difference"] == pytest.approx(-0.1)
    assert adam["lowest_accuracy_task"] == "a"
    assert (adam["seconds_ratio"], adam["highest_seconds_ratio"]) == (1.5, 1.8)


def test_a_rival_that_diverged_is_beaten_and_gives_no_ratio():
    adamw = rows(TWO)["adamw", "mean_loss"]
    assert (adamw["better"], adamw["tasks"]) == (2, 2)
    assert adamw["worst_task"] == "a"


def test_an_optimizer_that_diverged_has_the_worst_ratio():
    summary = copy.deepcopy(TWO)
    summary["measures"][0] = measure("a", "mine", None)
    adam = rows(summary)["adam", "mean_loss"]
    assert (adam["better"], adam["worst"], adam["worst_task"]) == (0, None, "a")


def test_a_wrong_number_of_steps_is_compared_with_the_right_one():
    told = setting("a", axis="told x3", declared=300)
    measures = [
        *TWO["measures"], measure("a", "mine", 1.2, "told x3"), measure("a", "adam", 2.0, "told x3")
    ]  # fmt: skip
    row = compare(summary_of([*TWO["tasks"], told], measures))[-1]
    assert (row["axis"], row["to"], row["tasks"]) == ("told x3", ITSELF, 1)
    assert row["worst"] == pytest.approx(1.2)


def test_evaluations_are_merged():
    other = copy.deepcopy(TWO)
    for entry in other["tasks"]:
        entry["label"] += "_large"
    for entry in other["measures"]:
        entry["task"] += "_large"
    other["optimizers"] = other["optimizers"][:2]
    merged = merge([TWO, other])
    assert {(x["to"], x["tasks"]) for x in compare(merged)} == {("adam", 4)}


def test_what_cannot_be_merged(capsys, tmp_path):
    with pytest.raises(ValueError, match="task a is in two of the evaluations"):
        merge([TWO, TWO])
    with pytest.raises(ValueError, match="different numbers of seeds"):
        merge([TWO, {**TWO, "num_seeds": 3}])
    assert together.main([]) == 2
    assert together.main([str(tmp_path)]) == 2
    assert "cannot be read" in capsys.readouterr().err
