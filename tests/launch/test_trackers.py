"""A killed run continues in the same run of every tracker, as the tracker's own reader shows it."""

import importlib.util
import json
import os
import subprocess
import sys
from contextlib import closing
from pathlib import Path
from unittest import mock

import numpy as np
import pytest

from meta_train.run import Validation
from meta_train.run.records import Records
from meta_train.run.writer import find_writer
from tests.launch.test_resume import TINY, event_steps, finish, records, start_silent, wait_for
from tests.meta_train.test_run import counting

# SQLAlchemy tells MLflow, at its first use, of what it will do without in a later release.
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")
TRACKERS = [
    pytest.param(
        name,
        marks=pytest.mark.skipif(
            importlib.util.find_spec(name) is None, reason=f"extra: pip install lopt[{name}]"
        ),
    )
    for name in ("wandb", "mlflow")
]
CLOCKS = ("seconds", "inner_steps_per_s")


@pytest.fixture(autouse=True, scope="module")
def local():
    """Trackers as they are without settings of their own."""
    with mock.patch.dict(os.environ):
        for name in [x for x in os.environ if x.startswith(("WANDB_", "MLFLOW_"))]:
            del os.environ[name]
        yield


def wandb_points(folder):
    """Rows of all offline folders together, which must be of one run and in one order."""
    (run_id,) = {path.stem for path in (folder / "wandb").glob("*run-2*/*.wandb")}
    rows = []
    for file in sorted((folder / "wandb").glob(f"*run-2*/{run_id}.wandb")):
        reader = (sys.executable, "-m", "wandb", "leet", "inspect", "--json", "--follow")
        command = (*reader, "--idle-timeout=100ms", str(file))
        shown = subprocess.run(command, capture_output=True, text=True, check=True).stdout
        found = map(json.loads, shown.splitlines())
        rows += [x["history"]["item"] for x in found if x["type"] == "history"]
    steps = [row["_step"] for row in rows]
    assert steps == sorted(set(steps))
    return [
        (name, row["meta_step"], value)
        for row in rows
        for name, value in row.items()
        if name != "meta_step" and not name.startswith("_")
    ]


def mlflow_points(folder):
    from mlflow import MlflowClient

    client = MlflowClient(f"sqlite:///{folder}/mlflow/mlflow.db")
    (experiment,) = [x for x in client.search_experiments() if x.name == "lopt"]
    (run,) = client.search_runs([experiment.experiment_id])
    assert run.info.status == "FINISHED"
    return [
        (name, metric.step, metric.value)
        for name in run.data.metrics
        for metric in client.get_metric_history(run.info.run_id, name)
    ]


def points(name, folder):
    """Every number that the tracker shows, apart from those of clocks: (name, meta-step, value)."""
    found = {"wandb": wandb_points, "mlflow": mlflow_points}[name](folder)
    return sorted(point for point in found if point[0] not in CLOCKS)


def expected(folder):
    return sorted(
        (name, record["meta_step"], value)
        for record in records(folder)
        for name, value in record.items()
        if name != "meta_step" and value is not None
    )


def assert_complete(tracker, folder):
    found, wanted = points(tracker, folder), expected(folder)
    assert [point[:2] for point in found] == [point[:2] for point in wanted]
    np.testing.assert_allclose([x[2] for x in found], [x[2] for x in wanted], rtol=1e-6)


def kill_at(meta_step, *command):
    process = start_silent(*command)
    wait_for(Path(command[-1].partition("=")[2]), meta_step)
    process.kill()
    process.wait()


@pytest.fixture(scope="module")
def killed(tmp_path_factory, compilation_cache):
    """A run with all trackers that are there, which was killed and has resumed."""
    folder = tmp_path_factory.mktemp("killed")
    there = [x for x in ("wandb", "mlflow") if importlib.util.find_spec(x)]
    command = (*TINY, f"--config.writers={('tensorboard', *there)}", f"--workdir={folder}")
    kill_at(28, *command)
    finish(*command)
    return folder


@pytest.mark.slow
@pytest.mark.parametrize("tracker", TRACKERS)
def test_a_killed_run_is_in_its_tracker_without_gap_or_double(tracker, killed):
    assert len(event_steps(killed)) == 60
    assert_complete(tracker, killed)


@pytest.mark.slow
@pytest.mark.parametrize("tracker", TRACKERS)
def test_of_many_kills_a_tracker_shows_nothing(tracker, killed, tmp_path):
    """Neither where the program that starts and kills the runs has one of its own, ``killed``."""
    command = (*TINY, f"--config.writers={tracker}", f"--workdir={tmp_path}")
    for meta_step in (2, 8, 16, 30, 31, 44, 60):
        kill_at(meta_step, *command)
    finish(*command)
    assert_complete(tracker, tmp_path)


@pytest.mark.parametrize("tracker", TRACKERS)
def test_a_tracker_that_joins_late_or_has_lost_much_gets_everything(tracker, tmp_path):
    def part(meta_steps, *writers):
        hooks = [Records(tmp_path, writers), Validation(lambda theta: float(theta), 3)]
        with closing(counting(tmp_path, meta_steps, 1, *hooks)[0]) as run:
            run.restore()
            run.train(lambda: run.meta_step == 3)  # before its validation
            run.train()
            run.save()

    make = find_writer(tracker)
    part(4)
    part(7, make)
    assert_complete(tracker, tmp_path)
    for file in (tmp_path / "wandb").glob("*run-2*/*.wandb"):
        os.truncate(file, file.stat().st_size // 2)  # as after a crash of the machine
    part(9, make)
    part(9, make)
    lines = (tmp_path / "metrics.jsonl").read_text().splitlines()
    assert sum("meta_valid_loss" in line for line in lines) == 5
    assert_complete(tracker, tmp_path)


def test_online_the_server_says_how_far_it_has_come(tmp_path, monkeypatch):
    wandb_writer = pytest.importorskip("meta_train.run.wandb_writer", reason="lopt[wandb]")
    monkeypatch.setenv("WANDB_MODE", "online")
    on_server = mock.Mock(step=5, url="https://server/run")
    init = mock.Mock(return_value=on_server)
    monkeypatch.setattr(wandb_writer.wandb, "init", init)
    for _ in range(2):
        writer = wandb_writer.WandbWriter(tmp_path)
        for step in (1, 2, 2, 3):
            writer.write_scalars(step, {"x": 0.5})
    assert len({call.kwargs["id"] for call in init.call_args_list}) == 1
    assert {call.kwargs["resume"] for call in init.call_args_list} == {"allow"}
    rows = [(call.args[0]["meta_step"], call.kwargs["step"]) for call in on_server.log.mock_calls]
    assert rows == [(2, 5), (3, 6)] * 2


@pytest.mark.slow
@pytest.mark.parametrize("tracker", TRACKERS)
def test_writes_every_kind(tracker, tmp_path):
    draw = np.random.default_rng(0)
    writer = find_writer(tracker)(tmp_path)
    writer.write_hparams({f"field {i}": (i, "x") for i in range(150)})
    writer.write_texts(3, {"note": "hello"})
    writer.write_images(3, {"one": np.zeros((4, 5, 3), np.uint8), "two": draw.random((2, 4, 5, 1))})
    writer.write_histograms(3, {"weights": np.arange(10.0)}, num_buckets={"weights": 5})
    writer.write_summaries(3, {"raw": np.arange(3)})
    writer.close()
    if tracker == "wandb":
        importlib.import_module("wandb").teardown()  # waits for W&B's own process
    assert len([path for path in tmp_path.rglob("*.png") if path.is_file()]) == 3
    texts = b"".join(path.read_bytes() for path in tmp_path.rglob("*") if path.is_file())
    assert b"hello" in texts
    assert b"field 149" in texts


@pytest.mark.parametrize("tracker", ["wandb", "mlflow"])
def test_a_tracker_that_is_not_installed_is_named_at_once(
    tracker, tmp_path, monkeypatch, user_error
):
    monkeypatch.setitem(sys.modules, tracker, None)
    monkeypatch.delitem(sys.modules, f"meta_train.run.{tracker}_writer", raising=False)
    monkeypatch.setattr("launch.run.build", None)  # nothing is built before
    line = user_error("meta-train", *TINY, f"--workdir={tmp_path}", f"--config.writers={tracker}")
    assert f"needs {tracker}, which is not installed; run pip install 'lopt[{tracker}]'" in line
