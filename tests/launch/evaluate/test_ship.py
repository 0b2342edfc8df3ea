"""Tuned hyperparameters that come with the package."""

import dataclasses
import json

import pytest

from configs.held_out import EvaluationConfig
from launch import configuration
from launch.evaluate import evaluation_run, ship
from launch.evaluate.from_config import SHIPPED
from meta_train.evaluation import Store, identity
from meta_train.evaluation.result_store import read_shipped
from tests.launch.evaluate.conftest import SMALL

WORDS = (*SMALL, "--config.baselines=adam")
OF_PYTHON = ("text_lstm", "text_transformer")
"""Tasks over the standard library's source, which differs between versions of Python."""


@pytest.fixture
def parts(evaluate, tmp_path):
    """Finished parts of a small suite, among them those of another task."""
    evaluate(tmp_path / "w", *WORDS, "--config.tasks={'quadratic': {'dim': 2}, 'wine_mlp': {}}")
    return tmp_path / "w" / "parts"


def test_searches_of_the_suite_are_collected_and_found(
    parts, evaluate, tmp_path, monkeypatch, capsys
):
    suite = configuration.load(str(parts.parent / "config.json"), EvaluationConfig)
    suite = dataclasses.replace(suite, tasks={"wine_mlp": suite.tasks["wine_mlp"]})
    folder = tmp_path / "shipped"
    for module in (evaluation_run, ship):
        monkeypatch.setattr(module, "SHIPPED", folder)
    with monkeypatch.context() as patch:
        patch.setattr(configuration, "SUITES", ("small",))
        patch.setattr(configuration, "load", lambda *_: suite)
        assert ship.main([str(parts)]) == 0
    read_shipped.cache_clear()
    assert "missing: wine_mlp adam final_valid_loss" in capsys.readouterr().out
    (file,) = folder.iterdir()
    (entry,) = json.loads(file.read_text())
    assert entry["key"]["optimizer"]["optax"] == "adam"
    words = [*WORDS, "--config.tasks=wine_mlp", f"--config.cache_dir={tmp_path / 'new'}"]
    summary = evaluate(tmp_path / "again", *words)
    assert all(entry["from_cache"] for entry in summary["tuned"])
    assert len(summary["tuned"]) == 1


def test_usage(capsys):
    assert ship.main([]) == 2
    assert "usage" in capsys.readouterr().err


@pytest.mark.parametrize("suite", configuration.SUITES)
def test_what_is_shipped_fits_the_suite(suite):
    """A change of a task, a search space or the budget makes it useless until it is made anew."""
    version = identity.tuning_versions()["jax"]
    if not (SHIPPED / f"{suite}-jax{version}.json").exists():
        pytest.skip(f"nothing is shipped for {suite} and jax {version}")
    shipped = Store([], shipped=SHIPPED)
    lacking = [
        f"{search.label}: {search.baseline} by {search.criterion}"
        for search in ship.searches(suite)
        if search.criterion == "mean_loss" and search.task not in OF_PYTHON
        if shipped.load_shipped(search.key) is None
    ]
    assert not lacking, f"run launch.evaluate.ship again; {suite} lacks {', '.join(lacking)}"
