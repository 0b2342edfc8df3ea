"""Tuned hyperparameters that come with the package."""

import json

import pytest

from launch import configuration
from launch.config_kinds import EVALUATE
from launch.construct import plain
from launch.evaluate import identity, judge, ship, store
from launch.evaluate.optimizers import make_baselines
from launch.evaluate.settings import make_settings
from tests.launch.evaluate.conftest import SMALL

WORDS = (*SMALL, "--config.baselines=adam")
OF_PYTHON = ("text_lstm", "text_transformer")
"""Tasks over the standard library's source, which differs between versions of Python."""


@pytest.fixture
def parts(evaluate, tmp_path):
    """Finished parts of a small suite, among them those of another task."""
    evaluate(tmp_path / "w", *WORDS, "--config.tasks={'quadratic': {'dim': 2}, 'wine_mlp': {}}")
    return tmp_path / "w" / "parts"


def test_searches_of_the_suite_are_collected_and_found(parts, evaluate, tmp_path, monkeypatch):
    suite = configuration.load("held_out", EVALUATE)
    suite.tasks = {"wine_mlp": suite.tasks.wine_mlp}
    suite.axes = {}
    monkeypatch.setattr(ship.configuration, "load", lambda *_: suite)
    monkeypatch.setattr(ship, "SHIPPED", tmp_path / "shipped")
    assert ship.main([str(parts)]) == 0
    (file,) = (tmp_path / "shipped").iterdir()
    entries = json.loads(file.read_text())
    assert {entry["key"]["optimizer"]["optax"] for entry in entries} == {"adam"}
    folder = tmp_path / "shipped"
    monkeypatch.setattr(judge, "load_shipped", lambda key: store.load_shipped(key, folder))
    words = [*WORDS, "--config.tasks=wine_mlp", f"--config.cache_dir={tmp_path / 'new'}"]
    summary = evaluate(tmp_path / "again", *words)
    assert all(entry["from_cache"] for entry in summary["tuned"])
    assert len(summary["tuned"]) == 1


def test_usage(capsys):
    assert ship.main([]) == 2
    assert "usage" in capsys.readouterr().err


def test_what_is_shipped_fits_the_suite():
    """A change of a task, a search space or the budget makes it useless until it is made anew."""
    version = identity.tuning_versions()["jax"]
    file = store.SHIPPED / f"held_out-jax{version}.json"
    if not file.exists():
        pytest.skip(f"nothing is shipped for jax {version}")
    fields = plain(configuration.load("held_out", EVALUATE).to_dict())
    found = {(x["key"]["task"], identity.canonical(x["key"]["optimizer"])): x["key"]
             for x in json.loads(file.read_text())}  # fmt: skip
    baselines = make_baselines(fields["baselines"])
    budget = [fields["tuning"]["num_grid"], fields["tuning"]["num_random"]]
    for group in make_settings(fields):
        setting = group[0]
        if setting.label in OF_PYTHON:
            continue
        print_ = identity.fingerprint(setting.task)
        for baseline in baselines:
            key = found[print_, identity.canonical(baseline.identity)]
            assert (key["num_steps"], key["budget"]) == (setting.num_steps, budget)
            assert (key["seed"], key["format"]) == (fields["seed"], identity.FORMAT)
