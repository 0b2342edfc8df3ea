"""``lopt calibrate``: what it writes, that it resumes, and what an evaluation makes of it."""

import json
import shutil

import numpy as np
import pytest

from configs import Named
from launch import cli
from launch.evaluate.from_config import SHIPPED, make_baselines
from meta_train.evaluation import BASELINES, Runner, calibration
from meta_train.evaluation.calibration import log_losses
from tests.launch.evaluate.conftest import SMALL

WORDS = (
    "--config=general",
    "--config.tasks={'bowl': {'name': 'quadratic', 'dim': 2}, 'wide': {'name': 'quadratic'}}",
    "--baselines=adam,adamw_cosine",
    "--num_steps=20",
    "--num_seeds=2",
    "--num_grid=3",
    "--num_random=3",
    "--workers=1",
)
ADAM = {"name": "adam", "learning_rate": 0.1}


def named(entries):
    """Baselines as a config has them."""
    return {
        label: Named(name=fields["name"], fields={k: v for k, v in fields.items() if k != "name"})
        for label, fields in entries.items()
    }


def calibrate(folder, *words):
    assert cli.main(["calibrate", *WORDS, *words, f"--workdir={folder}"]) == 0
    return json.loads((folder / "calibrated.json").read_text())


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """Work folder and result of one calibration."""
    folder = tmp_path_factory.mktemp("calibration") / "new"
    return folder, calibrate(folder)


@pytest.fixture
def trained(monkeypatch):
    """How many training runs there are in each program call."""
    calls, call = [], Runner.__call__

    def counted(self, shared, own, keys, validated=True):
        calls.append(len(keys))
        return call(self, shared, own, keys, validated)

    monkeypatch.setattr(Runner, "__call__", counted)
    return calls


def test_every_baseline_has_one_setting_and_how_it_was_found(finished):
    folder, found = finished
    assert {path.name for path in folder.iterdir()} == {".lock", "calibrated.json", "parts"}
    assert list(found) == ["adam", "adamw_cosine"]
    for name, entry in found.items():
        assert set(entry["hyperparameters"]) == set(BASELINES[name].space)
        assert entry["score"] < 0  # better than never moving
        assert entry["budget"] == {"num_grid": 3, "num_random": 3}
        assert (entry["num_steps"], entry["num_seeds"], entry["seed"]) == (20, 2, 0)
        assert entry["tasks"] == ["bowl", "wide"]
        assert entry["versions"]["jax"]
        assert entry["command"].startswith("lopt calibrate --config=general ")
        assert str(folder) not in entry["command"]


def test_it_goes_on_with_what_is_missing(finished, tmp_path, trained, capsys):
    folder, found = finished
    shutil.copytree(folder / "parts", tmp_path / "w" / "parts")
    assert calibrate(tmp_path / "w") == found
    assert trained == []
    assert len(capsys.readouterr().out.splitlines()) == len(found) + 1
    parts = sorted((tmp_path / "w" / "parts").iterdir())
    assert len(parts) == 2 * 2 * 2  # baselines, tasks, and the grid or the random trials
    parts[0].unlink()
    assert calibrate(tmp_path / "w") == found
    assert trained == [3 * 2]


def test_another_seed_is_another_calibration(finished, tmp_path, trained):
    folder, found = finished
    shutil.copytree(folder / "parts", tmp_path / "w" / "parts")
    other = calibrate(tmp_path / "w", "--config.seed=1", "--baselines=adam")
    assert trained == [6, 6, 6, 6]
    assert other["adam"]["score"] != found["adam"]["score"]


@pytest.mark.parametrize("place", ["", "calibrated.json"])
def test_an_evaluation_takes_the_setting_and_tunes_nothing(finished, place):
    folder, found = finished
    entry = {"name": "adamw_cosine", "calibrated": str(folder / place)}
    by_hand = {"name": "adamw_cosine", **found["adamw_cosine"]["hyperparameters"]}
    made, expected, adam = make_baselines(named({"one": entry, "other": by_hand, "adam": ADAM}))
    assert (made.name, made.space) == ("one", {})
    assert made.identity == expected.identity != adam.identity
    assert made.description == expected.description + "; calibrated"
    params = np.ones(2, np.float32)
    optimizer = made.make((), {}, 20)
    optimizer.update(params, optimizer.init(params), params)


def test_what_comes_with_the_package_is_of_the_packaged_tasks():
    file = SHIPPED / "calibrated.json"
    if not file.exists():
        pytest.skip("no calibration is shipped")
    shipped = json.loads(file.read_text())
    assert set(shipped) == set(BASELINES)
    for name, entry in shipped.items():
        (baseline,) = make_baselines(named({name: {"name": name, "calibrated": True}}))
        assert (baseline.name, baseline.space) == (name, {})
        assert entry["num_steps"] == 1000
        for key, span in BASELINES[name].space.items():
            low, high = sorted((span.at(0.0), span.at(1.0)))
            margin = (span.high / span.low) ** 0.2  # random trials are within one step of the grid
            assert low / margin <= entry["hyperparameters"][key] <= high * margin


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ([], "--config is missing"),
        (["--config=held_out"], "is a config of `lopt evaluate`"),
        ([*WORDS], "--workdir is missing"),
        ([*WORDS, "--num_sed=3"], "did you mean 'num_seeds'"),
        ([*WORDS, "--workdir=w", "--num_seeds=0"], "--num_seeds=0 must be at least 1"),
        ([*WORDS, "--num_random=x"], "wants a whole number"),
        ([*WORDS, "--workdir=w", "--baselines=adm"], "did you mean 'adam'"),
        ([*WORDS, "--workdir=w", "--config.tasks=quadratc"], "did you mean 'quadratic'"),
        ([*WORDS, "--workdir=w", "--config.tasks={}"], "config.tasks is empty"),
    ],
)
def test_mistake(user_error, tmp_path, monkeypatch, words, expected):
    monkeypatch.chdir(tmp_path)
    assert expected in user_error("calibrate", *words)
    assert not any(path.is_file() for path in tmp_path.rglob("*"))


@pytest.mark.parametrize(
    ("entry", "expected"),
    [
        ({"calibrated": 3}, "calibrated = 3 must be True"),
        ({"calibrated": "nowhere"}, "nowhere is no file of lopt calibrate"),
        ({"calibrated": "list.json"}, "list.json is no file of lopt calibrate"),
        (
            {"calibrated": "some.json"},
            "some.json has no adam (it has lion); find its setting: lopt",
        ),
        ({"calibrated": True, "b1": 0.8}, "b1 is given besides calibrated"),
    ],
)
def test_a_setting_that_is_not_there(user_error, tmp_path, monkeypatch, entry, expected):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "list.json").write_text("[]")
    (tmp_path / "some.json").write_text('{"lion": {"hyperparameters": {"learning_rate": 0.1}}}')
    words = [f"--config.baselines={ {'adam': entry} }", "--workdir=w"]
    assert expected in user_error("evaluate", *SMALL, *words)
    assert not (tmp_path / "w" / "config.json").exists()


def test_a_task_that_has_no_logarithm_is_named(user_error, tmp_path, monkeypatch):
    monkeypatch.setattr(
        calibration, "on_task", lambda *_: lambda trials: log_losses(-np.ones((1, 2)))
    )
    line = user_error("calibrate", *WORDS, f"--workdir={tmp_path}")
    assert "config.tasks.bowl: the first loss of a run is -1" in line
