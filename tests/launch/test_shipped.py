"""Bundles that come with the package, at the command line."""

import json
import shlex

import jax
import numpy as np
import pytest

import lopt
from launch import cli, first_theta, run
from launch.build import build
from launch.evaluate.from_config import load_bundles
from lopt import bundle_config, shipped
from tests.launch.test_export import summary
from tests.launch.test_first_theta import config

NAMES = shipped.names()


@pytest.mark.parametrize("name", NAMES)
def test_its_command_makes_the_config_of_its_card(name, tmp_path, monkeypatch):
    card = lopt.load_bundle(name).card
    made = []
    monkeypatch.setattr(run, "run", lambda config, *_, **__: made.append(config))
    monkeypatch.chdir(tmp_path)
    program, *words = shlex.split(card["command"])
    assert program == "lopt"
    assert cli.main(words) == 0
    flat = json.loads(json.dumps(made[0].flat()))
    assert {path: flat.get(path, "no field") for path in card["config"]} == card["config"]


def test_list(capsys):
    assert cli.main(["list", "bundles"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines] == NAMES
    for line, name in zip(lines, NAMES, strict=True):
        card = lopt.load_bundle(name).card
        assert card["title"] in line
        assert f"up to {card['horizon']:,} steps" in line


def test_inspect(capsys, tmp_path, user_error):
    assert cli.main(["inspect", "general", "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    bundle = lopt.load_bundle("general")
    sha256 = bundle_config.theta_sha256(jax.tree.leaves(bundle.theta))
    assert report["theta_sha256"] == sha256
    assert report["card"] == bundle.card
    assert cli.main(["inspect", str(shipped.FOLDER / "general")]) == 0
    shown = capsys.readouterr().out
    assert sha256 in shown
    assert bundle.card["command"] in shown
    assert "those are general" in user_error("inspect", "genral")
    assert "is not a folder" in user_error("inspect", __file__)


def test_evaluate_finds_it():
    (found,) = load_bundles(["general"])
    assert (found.name, found.folder) == ("general", shipped.FOLDER / "general")


def test_a_run_starts_from_it():
    theta = lopt.load_bundle("general").theta
    made = config(init_from="general", optimizer__hidden=())
    found = first_theta.find(build(made), made, jax.random.key(0))
    jax.tree.map(np.testing.assert_array_equal, found, theta)


def test_export(tmp_path, user_error):
    given = lopt.load_bundle("general")
    words = ("--title=Mine", "--command=lopt meta-train --config=mine")
    assert cli.main(["export", "general", str(tmp_path / "out"), *words]) == 0
    copy = lopt.load_bundle(tmp_path / "out")
    assert copy.optimizer == given.optimizer
    jax.tree.map(np.testing.assert_array_equal, copy.theta, given.theta)
    changes = {"title": "Mine", "command": "lopt meta-train --config=mine"}
    assert copy.card == {**given.card, **changes}
    assert "--config=mine" in (tmp_path / "out" / "README.md").read_text()
    assert "no --step" in user_error("export", "general", tmp_path / "new", "--step=5")
    assert "those are general" in user_error("export", "genral", tmp_path / "new")
    assert not (tmp_path / "new").exists()


def test_export_with_an_evaluation(tmp_path, user_error):
    content = summary()
    (tmp_path / "summary.json").write_text(json.dumps(content))
    words = ("export", "general", str(tmp_path / "out"), f"--evaluation={tmp_path}")
    assert "another theta" in user_error(*words)
    theta = lopt.load_bundle("general").theta
    content["optimizers"][0]["theta_sha256"] = bundle_config.theta_sha256(jax.tree.leaves(theta))
    (tmp_path / "summary.json").write_text(json.dumps(content))
    assert cli.main(list(words)) == 0
    card = lopt.load_bundle(tmp_path / "out").card
    assert [row["task"] for row in card["evaluation"]] == ["a", "a", "b", "b"]
    (row,) = card["all_held_out_tasks"]
    assert (row["to"], row["iqm"]) == ("adam", 0.9)


def test_export_with_several_evaluations(tmp_path, user_error):
    """Of several optimizers the exported one is told of; tasks are those of all folders."""
    theta = lopt.load_bundle("general").theta
    own, other = {"name": "mine", "kind": "learned"}, {"name": "first", "kind": "learned"}
    own["theta_sha256"] = bundle_config.theta_sha256(jax.tree.leaves(theta))
    other["theta_sha256"] = "0"
    for folder, task in (("small", "a"), ("large", "b")):
        rows = [
            {"task": task, "axis": "", "optimizer": name, "mean_loss": loss, "std_error": 0.01,
             "final_loss": loss, "final_valid_loss": loss, "final_valid_accuracy": None,
             "speedup": None, "diverged": 0.0, "microseconds_per_step": 1.0,
             "by_seed": {"mean_loss": [loss] * 2, "final_valid_loss": [loss] * 2}}
            for name, loss in (("mine", 1.0), ("first", 2.0), ("adam", 4.0))
        ]  # fmt: skip
        content = {
            "kind": "lopt-evaluation", "format_version": 1, "num_steps": 10, "num_seeds": 2,
            "reference": ["adam"], "optimizers": [own, other, {"name": "adam", "kind": "baseline"}],
            "tasks": [{"label": task, "axis": "", "set": "held_out", "num_steps": 10, "fields": {},
                       "declared_num_steps": 10}],
            "measures": rows, "comparisons": [],
        }  # fmt: skip
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "summary.json").write_text(json.dumps(content))
    both = f"--evaluation={tmp_path / 'small'},{tmp_path / 'large'}"
    assert cli.main(["export", "general", str(tmp_path / "out"), both]) == 0
    card = lopt.load_bundle(tmp_path / "out").card
    assert [row["task"] for row in card["evaluation"]] == ["a", "a", "b", "b"]
    found = {(x["to"], x["measure"]): x for x in card["all_held_out_tasks"]}
    assert found["first", "mean_loss"]["iqm"] == pytest.approx(0.5)
    assert (found["adam", "mean_loss"]["iqm"], found["adam", "mean_loss"]["tasks"]) == (0.25, 2)
    line = user_error("export", "general_seed1", tmp_path / "new", both)
    assert "it is of 2 learned optimizers, and none is the exported one" in line
