"""``lopt benchmark``: what it refuses, and one case as a whole."""

import json

import pytest

from launch import cli
from meta_train.benchmark import CASES


def test_cases_are_listed(capsys):
    assert cli.main(["benchmark", "--list", "--cases=digits/*"]) == 0
    assert capsys.readouterr().out.split() == [x for x in CASES if x.startswith("digits/")]


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (("--cases=digit/mlp",), "no case is 'digit/mlp'; known are: digits/mlp"),
        (("--cores=4096",), "4096 cores are more than the"),
        (("--before=nowhere.json",), "nowhere.json"),
        (("--cases=general", "--config.estimator.std=x"), "--config.estimator.std=x"),
    ],
)
def test_mistakes(user_error, arguments, expected):
    assert expected in user_error("benchmark", *arguments)


@pytest.mark.slow
def test_a_case_is_measured_and_reported(tmp_path, capsys):
    arguments = ["--cases=mnist/adafac_mlp,start/mnist*", "--turns=1", "--seconds=0.1"]
    arguments += ["--config.estimator.horizon=40", f"--workdir={tmp_path}"]
    assert cli.main(["benchmark", *arguments]) == 0
    found = json.loads((tmp_path / "benchmark.json").read_text())
    shown = (tmp_path / "benchmark.md").read_text()
    assert shown in capsys.readouterr().out
    meta_steps, start = found["results"]
    assert meta_steps["competitors"]["ours"]["turns"][0]["inner_steps"] == 320
    assert start["competitors"]["ours"]["turns"][0]["warm"]["seconds"] > 0


def test_a_run_too_large_for_the_memory_is_refused(user_error, tmp_path, monkeypatch):
    monkeypatch.setattr("meta_train.trainer.free_bytes", lambda: 2_000_000)
    arguments = ["--config=digits_mlp_pes", "--config.optimizer.name=sgd_schedule"]
    arguments += ["--config.objective.unit=None", "--config.estimator.num_pairs=600"]
    arguments += ["--config.devices.count=1", f"--workdir={tmp_path}"]
    said = user_error("meta-train", *arguments)
    assert "config.estimator.num_pairs: 600 antithetic pairs" in said
    assert "choose at most" in said
    assert not (tmp_path / "metrics.jsonl").exists()
