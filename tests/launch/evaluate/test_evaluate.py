"""Whole evaluations, and what is left of them."""

import csv
import math
import shutil
import signal
import subprocess
import sys

import jax
import numpy as np
import pytest

import lopt
from configs.held_out import EvaluationConfig
from launch import cli, configuration
from lopt import bundle_config
from meta_train.evaluation import Evaluation, judge, terminal_tables, together
from meta_train.evaluation.evaluation import COLUMNS
from meta_train.evaluation.model_card import judged
from meta_train.report.page import make as make_page
from tests.launch.conftest import ROOT
from tests.launch.evaluate.conftest import SMALL

TASKS = "{'bowl': {'name': 'quadratic', 'dim': 2}, 'digits': {'name': 'digits_mlp', 'hidden': ()}}"
AXES = (
    "{'horizon x2': {'bowl': {'num_steps': 40}}, 'told x3': {'bowl': {'declared_num_steps': 60}}}"
)
WORDS = (
    *(word for word in SMALL if not any(x in word for x in ("tasks", "axes", "baselines"))),
    f"--config.tasks={TASKS}",
    f"--config.axes={AXES}",
    "--config.tasks.digits.batch_size=8",
    "--config.baselines=adam",
    "--config.baselines.fixed.name=adabelief",
    "--config.baselines.fixed.learning_rate=0.01",
)


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    return tmp_path_factory.mktemp("evaluation_cache")


@pytest.fixture(scope="module")
def finished(evaluate, bundle, cache, tmp_path_factory):
    """Work folder and summary of one evaluation."""
    folder = tmp_path_factory.mktemp("evaluation") / "new"
    return folder, evaluate(folder, bundle, *WORDS, f"--config.cache_dir={cache}")


def rows(folder):
    with (folder / "results.csv").open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


@pytest.fixture
def forbid_training(monkeypatch):
    """Any training run is a failure; those that are asked for are listed."""
    asked = []

    def refuse(self, *arguments, **keywords):
        asked.append(arguments)
        raise AssertionError("nothing should be trained")

    monkeypatch.setattr(judge._Trainer, "__call__", refuse)
    return asked


def test_folder_holds_config_table_and_summary(finished):
    folder, summary = finished
    assert {path.name for path in folder.iterdir()} == {
        ".lock", "config.json", "results.csv", "summary.json", "parts",
    }  # fmt: skip
    config = configuration.load(str(folder / "config.json"), EvaluationConfig)
    assert config.tasks["bowl"].fields["dim"] == 2
    assert (summary["kind"], summary["format_version"]) == ("lopt-evaluation", 1)
    assert summary["environment"]["versions"]["jax"]
    assert summary["environment"]["seconds"] > 0


def test_table_is_tidy(finished):
    folder, _ = finished
    table = rows(folder)
    assert tuple(table[0]) == COLUMNS
    optimizers = ("small", "adam", "fixed")
    settings = {("bowl", ""): 20, ("bowl", "horizon x2"): 40, ("digits", ""): 20}
    settings["bowl", "told x3"] = 20
    keys = [tuple(row[name] for name in COLUMNS[:5]) for row in table]
    assert len(keys) == len(set(keys))
    assert set(keys) == {
        (task, axis, optimizer, str(seed), str(num_steps * i // 4))
        for (task, axis), num_steps in settings.items()
        for optimizer in optimizers
        for seed in (0, 1)
        for i in range(5)
    }
    for row in table:
        assert float(row["train_loss"]) >= 0
        assert (row["valid_loss"] != "") == (row["step"] != "0")
        assert (row["valid_accuracy"] != "") == (row["step"] != "0" and row["task"] == "digits")


def test_all_optimizers_start_from_the_same_problems(finished):
    folder, _ = finished
    first: dict = {}
    for row in rows(folder):
        if row["step"] == "0":
            losses = first.setdefault((row["task"], row["seed"]), [])
            losses.append(float(row["train_loss"]))
    assert len(first) == 4
    for (task, _), losses in first.items():
        assert len(losses) == (9 if task == "bowl" else 3)
        # Each optimizer's is another program: sums of 64 terms may be in another order.
        np.testing.assert_allclose(losses, losses[0], rtol=64 * 2.0**-23)
    assert np.ptp([losses[0] for losses in first.values()]) > 0.01


def test_measures_follow_from_the_table(finished):
    folder, summary = finished
    table = rows(folder)
    assert len(summary["measures"]) == 4 * 3
    for entry in summary["measures"]:
        here = [
            x for x in table
            if all(x[name] == entry[name] for name in ("task", "axis", "optimizer"))
        ]  # fmt: skip
        losses = [float(x["train_loss"]) for x in here if x["step"] != "0"]
        assert entry["mean_loss"] == pytest.approx(np.mean(losses), rel=1e-4)
        ends = [x for x in here if int(x["step"]) == max(int(y["step"]) for y in here)]
        valid = np.mean([float(x["valid_loss"]) for x in ends])
        assert entry["final_valid_loss"] == pytest.approx(valid, rel=1e-4)
        assert entry["microseconds_per_step"] > 0


def test_target_is_the_reference_baselines_final_loss(finished):
    _, summary = finished
    for entry in summary["measures"]:
        if entry["optimizer"] == "adam":  # the only one of config.reference
            assert entry["target"] == entry["final_loss"]
            assert entry["speedup"] == 1.0
            assert entry["steps_to_target"] is not None


def test_tuned_and_fixed_baselines_are_told_apart(finished):
    _, summary = finished
    tuned = {(x["task"], x["axis"], x["optimizer"]): x for x in summary["tuned"]}
    assert set(tuned) == {("bowl", "", "adam"), ("digits", "", "adam")}
    assert set(tuned["bowl", "", "adam"]["hyperparameters"]) == {"learning_rate", "b1", "b2"}
    assert all(x["trials"] == 3 and not x["from_cache"] for x in tuned.values())
    kinds = {x["name"]: x["kind"] for x in summary["optimizers"]}
    assert kinds.pop("small") == "learned"
    assert set(kinds.values()) == {"baseline"}


def test_aggregate_is_over_tasks_and_not_their_changes(finished):
    _, summary = finished
    adam = next(x for x in summary["aggregate"] if x["optimizer"] == "adam")
    assert adam["tasks"] == 2
    assert sum(x["wins"] for x in summary["aggregate"]) == 2
    assert adam["iqm_low"] <= adam["iqm"] <= adam["iqm_high"]
    assert set(summary["profile"]["fractions"]) == {"small", "adam", "fixed"}
    for fractions in summary["profile"]["fractions"].values():
        assert len(fractions) == len(summary["profile"]["taus"])


def test_the_bundle_is_named_and_drawn(finished, bundle):
    folder, summary = finished
    entry = summary["optimizers"][0]
    assert entry["bundle"] == str(bundle)
    theta = lopt.load_bundle(bundle).theta
    assert entry["theta_sha256"] == bundle_config.theta_sha256(jax.tree.leaves(theta))
    assert "sgd_schedule; " in make_page(folder)


def test_a_card_takes_it(finished):
    folder, summary = finished
    found = judged(Evaluation.load(folder))
    assert found.theta_sha256 == summary["optimizers"][0]["theta_sha256"]
    assert [(row["task"], row["axis"]) for row in found.entries["evaluation"][::2]] == [
        ("bowl", ""), ("bowl", "horizon x2"), ("bowl", "told x3"), ("digits", ""),
    ]  # fmt: skip


def test_there_is_a_verdict_for_every_setting(finished):
    folder, _ = finished
    lines = Evaluation.load(folder).verdict("small").lines
    titles = ["bowl", "bowl, horizon x2", "bowl, told x3", "digits"]
    assert [line.split(": ")[0] for line in lines] == titles
    assert all(line.endswith(" x in time") or "never at" in line for line in lines)
    assert all(" of adam" in line or " of fixed" in line for line in lines)


def test_learned_optimizers_alone_are_told_a_wrong_number_of_steps(finished, capsys):
    folder, summary = finished
    loss = {(x["task"], x["axis"], x["optimizer"]): x["mean_loss"] for x in summary["measures"]}
    for name in ("adam", "fixed"):
        assert loss["bowl", "told x3", name] == loss["bowl", "", name]
    ratio = loss["bowl", "told x3", "small"] / loss["bowl", "", "small"]
    assert abs(ratio - 1) > 0.01
    row = summary["comparisons"][-1]
    assert (row["axis"], row["tasks"]) == ("told x3", 1)
    assert row["worst"] == pytest.approx(ratio, rel=1e-4)
    assert [x["declared_num_steps"] for x in summary["tasks"]] == [20, 40, 60, 20]
    assert {x["runs"] for x in summary["aggregate"]} == {4 * 2}
    assert len(list((folder / "parts").glob("*.npz"))) == 3 * 3 + 1
    terminal_tables.show(Evaluation.load(folder))
    shown = capsys.readouterr().out.splitlines()
    (heading,) = [i for i, line in enumerate(shown) if line.strip() == "bowl, told x3"]
    assert shown[heading + 1].split()[0] == "small"
    assert shown[heading + 2].strip() == ""  # baselines are told nothing else
    assert together.main([str(folder)]) == 0
    assert "adam" in capsys.readouterr().out


def test_the_same_command_again_trains_nothing(
    finished, evaluate, bundle, tmp_path, forbid_training
):
    folder, summary = finished
    before = (folder / "results.csv").read_bytes()
    again = evaluate(folder, bundle, *WORDS, f"--config.cache_dir={tmp_path}")
    assert (folder / "results.csv").read_bytes() == before
    assert again["measures"] == summary["measures"]
    assert all(x["from_cache"] for x in again["tuned"])


def test_a_missing_part_alone_is_trained_again(finished, evaluate, bundle, tmp_path, monkeypatch):
    folder, summary = finished
    shutil.copytree(folder / "parts", tmp_path / "w" / "parts")
    (part, *_) = sorted((tmp_path / "w" / "parts").glob("*.npz"))
    part.unlink()
    calls, train = [], judge._Trainer.__call__

    def counted(self, *arguments, **keywords):
        calls.append(arguments)
        return train(self, *arguments, **keywords)

    monkeypatch.setattr(judge._Trainer, "__call__", counted)
    again = evaluate(tmp_path / "w", bundle, *WORDS, f"--config.cache_dir={tmp_path / 'cache'}")
    assert len(calls) == 1
    fields = ("mean_loss", "final_loss", "final_valid_loss")
    for one, other in zip(again["measures"], summary["measures"], strict=True):
        assert [one[name] for name in fields] == [other[name] for name in fields]


def test_baselines_come_from_the_cache(finished, evaluate, cache, tmp_path, forbid_training):
    """Another evaluation without the bundle finds all baselines in the user's cache."""
    _, summary = finished
    again = evaluate(tmp_path / "w", *WORDS, f"--config.cache_dir={cache}")
    assert [x["optimizer"] for x in again["aggregate"]] == ["adam", "fixed"]
    expected = [x for x in summary["measures"] if x["optimizer"] != "small"]
    assert again["measures"] == expected


@pytest.mark.parametrize(
    "change",
    ["--config.seed=1", "--config.num_steps=24", "--config.tuning.num_random=0",
     "--config.tuning.criterion=final_valid_loss", "--config.tasks.digits.batch_size=9",
     "--config.baselines.adam.b1=0.8"],
)  # fmt: skip
def test_any_change_of_the_search_misses_the_cache(
    evaluate, cache, tmp_path, forbid_training, change
):
    with pytest.raises(AssertionError, match="nothing should be trained"):
        evaluate(tmp_path, *WORDS, f"--config.cache_dir={cache}", change)
    assert forbid_training


def test_a_defect_is_not_called_a_mistake_of_the_user(evaluate, tmp_path, monkeypatch):
    def fail(self, *arguments, **keywords):
        raise ValueError("shapes differ")

    monkeypatch.setattr(judge._Trainer, "__call__", fail)
    with pytest.raises(ValueError, match="shapes differ"):
        evaluate(tmp_path, *SMALL)


def test_a_disk_that_is_full_fails_the_command(tmp_path, monkeypatch, capsys):
    def full(file):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("meta_train.evaluation.result_store.os.fsync", full)
    assert cli.main(["evaluate", *SMALL, f"--workdir={tmp_path}"]) == 1
    shown = capsys.readouterr().err
    assert "cannot be written (No space left on device)" in shown
    assert "the same command resumes from there" in shown


def test_a_file_that_cannot_be_read_is_not_called_unwritable(evaluate, tmp_path, monkeypatch):
    def fail(self, *arguments, **keywords):
        raise FileNotFoundError(2, "No such file or directory", "data.npz")

    monkeypatch.setattr(judge._Trainer, "__call__", fail)
    with pytest.raises(FileNotFoundError, match=r"data\.npz"):
        evaluate(tmp_path, *SMALL)


def test_a_curve_that_is_not_finite_is_told(evaluate, tmp_path):
    words = ["--config.baselines=sgd", "--config.baselines.sgd.learning_rate=1e30"]
    summary = evaluate(tmp_path, *SMALL, *words, "--config.reference=()")
    (entry,) = summary["measures"]
    assert entry["diverged"] == 1.0
    assert entry["mean_loss"] is None
    assert entry["target"] is None
    assert summary["aggregate"][0]["divergence_rate"] == 1.0
    assert summary["aggregate"][0]["wins"] == 0
    losses = [float(row["train_loss"]) for row in rows(tmp_path)]
    assert not all(map(math.isfinite, losses))


@pytest.mark.slow
def test_a_signal_stops_it_and_the_same_command_goes_on(evaluate, bundle, tmp_path):
    words = [*WORDS, f"--config.cache_dir={tmp_path / 'cache'}"]
    command = [sys.executable, "-m", "launch.cli", "evaluate", str(bundle), *words]
    command += [f"--workdir={tmp_path}"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=ROOT)
    assert process.stdout is not None
    for line in process.stdout:
        if line.startswith("1/"):
            process.send_signal(signal.SIGINT)
            break
    assert process.wait(60) == 75
    process.stdout.close()
    assert not (tmp_path / "summary.json").exists()
    assert evaluate(tmp_path, bundle, *words)["measures"]
