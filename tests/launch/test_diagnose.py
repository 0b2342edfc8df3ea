"""``lopt diagnose``: from a config to a recommendation, and what it refuses."""

import json

import pytest

from launch import cli

CONFIG = (
    "--config=toy_regression",
    "--config.estimator.horizon=6",
    "--config.estimator.truncation_length=2",
    "--config.estimator.num_pairs=2",
    "--config.devices.count=1",
)


def test_it_measures_a_config_and_writes_what_it_found(tmp_path, capsys):
    flags = ("--estimators=pes", "--truncation_lengths=2", "--std_factors=1", "--num_pairs=2")
    flags = (*CONFIG, *flags, "--minutes=0.001", f"--workdir={tmp_path}")
    assert cli.main(["diagnose", *flags]) == 0
    shown = capsys.readouterr().out
    assert "left  pes, K = 2, std x 1: 4 runs" in shown
    assert "keep estimator.name = pes, truncation_length = 2, num_pairs = 2, std = 0.3" in shown
    assert "SNR per s" in shown
    names = {path.name for path in tmp_path.iterdir()}
    assert {"table.csv", "summary.json", "variance.png", "landscape.pdf", "parts"} <= names
    summary = json.loads((tmp_path / "summary.json").read_text(encoding="utf-8"))
    assert [row["estimator"] for row in summary["settings"]] == ["reference", "pes"]
    assert summary["horizon"] == 6
    assert summary["recommendation"]["changes"] is False


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ((*CONFIG, "--estimators=pess"), "unknown estimator in --estimators 'pess'; did you mean"),
        ((*CONFIG, "--truncation_lengths=7"), "truncation_length = 7 (K) must lie between 1 and"),
        ((*CONFIG, "--config.estimator.truncation_length=7"), "truncation_length = 7 (K) must lie"),
        ((*CONFIG, "--truncation_lengths=two"), "--truncation_lengths=two wants whole numbers"),
        ((*CONFIG, "--minutes=0"), "seconds = 0.0 must be above 0"),
        (("--config=influence_balancing",), "horizon = None: a diagnosis compares gradients"),
        (("--config=general",), "config.tasks has"),
        (("--config=general", "--task=copy_lstm"), "unknown --task 'copy_lstm'; did you mean"),
        ((), "--config is missing"),
    ],
)
def test_mistakes_are_one_clear_line(tmp_path, user_error, flags, message):
    assert message in user_error("diagnose", *flags, f"--workdir={tmp_path}")
