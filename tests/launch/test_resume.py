"""Runs that are killed and resume: the end is that of an undisturbed run, bit for bit."""

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from contextlib import closing
from pathlib import Path

import jax
import numpy as np
import pytest

from checkpoints import Store
from launch import cli
from tests.meta_train.test_run import toy

ROOT = Path(__file__).resolve().parents[2]
TINY = (
    "--config=base",
    "--config.tasks={'quadratic': {'dim': 3}}",
    "--config.meta_steps=60",
    "--config.steps_per_dispatch=2",
    "--config.estimator.horizon=7",
    "--config.estimator.truncation_length=3",
    "--config.estimator.num_pairs=2",
    "--config.optimizer.name=sgd_schedule",
    "--config.meta_validation.every_steps=15",
    "--config.meta_validation.num_seeds=2",
    "--config.comparison.num_seeds=0",
    "--config.checkpoint.every_steps=6",
    "--config.devices.count=1",  # runs in this process and in others are compared bit for bit
)
CASES = {
    "pes": (),
    "comparison": ("--config.comparison.num_seeds=2",),
    "nres": ("--config.estimator.name=nres",),
    "truncated_bptt": ("--config.estimator.name=truncated_bptt",),
    "random_horizon": ("--config.estimator.horizon={'name': 'log_uniform', 'low': 4, 'high': 9}",),
    "several_tasks": (
        "--config.tasks={'quadratic': {'dim': 3}, 'wide': {'name': 'quadratic', 'dim': 5}}",
    ),
    "parallel": ("--config.devices.particles=parallel",),
    "streaming": (
        "--config.tasks={'digits_mlp': {'dataset': 'patches', 'hidden': (), 'batch_size': 8}}",
        "--config.data_limit_mb=1.4",  # windows of 119 examples
        "--config.steps_per_window=4",
    ),
    "units": (
        "--config.objective.unit=first_theta",
        "--config.objective.split=mixed",
        "--config.meta_optimizer.average_rate=0.1",
        "--config.meta_validation.tasks={'wide': {'name': 'quadratic', 'dim': 5}}",
    ),
}
CONSTANT = (
    "--config.meta_optimizer.schedule.name=constant",
    "--config.meta_optimizer.schedule.warmup_fraction=0",
)
CLOCKS = ("seconds", "inner_steps_per_s")


def environment(devices=2):
    flags = f"{os.environ['XLA_FLAGS']} --xla_force_host_platform_device_count={devices}"
    return {**os.environ, "PYTHONPATH": str(ROOT), "JAX_PLATFORMS": "cpu", "XLA_FLAGS": flags}


def start(*arguments, stdout=subprocess.PIPE):
    command = [sys.executable, "-m", "launch.cli", "meta-train", *map(str, arguments)]
    return subprocess.Popen(
        command, env=environment(), stdout=stdout, stderr=subprocess.STDOUT, text=True
    )


def start_silent(*arguments):
    return start(*arguments, stdout=subprocess.DEVNULL)


def finish(*arguments):
    """A run in this process, which must end well."""
    assert cli.main(["meta-train", *map(str, arguments)]) == 0


def records(folder):
    """metrics.jsonl without what clocks say."""
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    return [{name: x for name, x in line.items() if name not in CLOCKS} for line in lines]


def arrays(folder):
    store = Store(folder / "checkpoints")
    return {name: np.asarray(x) for name, x in store.load(store.numbers()[-1]).items()}


def assert_same_run(folder, undisturbed):
    expected, found = arrays(undisturbed), arrays(folder)
    assert list(found) == list(expected)
    for name, array in expected.items():
        np.testing.assert_array_equal(found[name], array, err_msg=name)
    assert records(folder) == records(undisturbed)
    assert event_steps(folder) == event_steps(undisturbed)
    for name in ("bundle", "bundle_last"):
        weights = "theta.safetensors"
        assert (folder / name / weights).read_bytes() == (undisturbed / name / weights).read_bytes()


def event_steps(folder):
    """Steps of the meta-loss in all event files together, each as often as it is there."""
    from tensorboardX.proto import event_pb2

    steps = []
    for path in sorted((folder / "events").glob("*")):
        data, position = path.read_bytes(), 0
        while position < len(data):
            length = int.from_bytes(data[position : position + 8], "little")
            event = event_pb2.Event.FromString(data[position + 12 : position + 12 + length])
            steps += [event.step for value in event.summary.value if value.tag == "meta_loss"]
            position += length + 16
    return sorted(steps)


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory, compilation_cache):
    """The folder of an uninterrupted run of each case."""
    done = {}

    def run(case):
        if case not in done:
            done[case] = tmp_path_factory.mktemp(case)
            finish(*TINY, *CASES[case], f"--workdir={done[case]}")
        return done[case]

    return run


def kill_at_random(case, folder, kills, seed):
    """Run in ``folder``, killing at random moments, then to the end."""
    began = time.monotonic()
    assert start_silent(*TINY, *CASES[case], f"--workdir={folder}-timed").wait() == 0
    seconds, moments = time.monotonic() - began, random.Random(seed)
    for _ in range(kills):
        process = start_silent(*TINY, *CASES[case], f"--workdir={folder}")
        time.sleep(moments.uniform(0.2, 1.0) * seconds)
        process.kill()
        process.wait()
    finish(*TINY, *CASES[case], f"--workdir={folder}")


def test_a_killed_run_ends_like_an_undisturbed_one(undisturbed, tmp_path):
    expected, command = undisturbed("pes"), (*TINY, f"--workdir={tmp_path}")
    process = start_silent(*command)
    wait_for(tmp_path, 28)
    process.kill()
    process.wait()
    finish(*command)
    assert_same_run(tmp_path, expected)


@pytest.mark.slow
@pytest.mark.parametrize("case", ["parallel", "streaming", "units"])
def test_a_run_that_is_made_longer_ends_like_a_long_one(case, tmp_path):
    command = (*TINY, *CASES[case], *CONSTANT)
    finish(*command, f"--workdir={tmp_path}/long")
    for meta_steps in (30, 60):
        finish(*command, f"--config.meta_steps={meta_steps}", f"--workdir={tmp_path}/longer")
    assert_same_run(tmp_path / "longer", tmp_path / "long")


@pytest.mark.slow
@pytest.mark.parametrize("case", CASES)
def test_runs_killed_at_random_end_like_undisturbed_ones(case, undisturbed, tmp_path):
    expected = undisturbed(case)
    kill_at_random(case, tmp_path / "run", kills=3, seed=case)
    assert_same_run(tmp_path / "run", expected)


@pytest.mark.slow
def test_twenty_kills(undisturbed, tmp_path):
    expected = undisturbed("pes")
    kill_at_random("pes", tmp_path / "run", kills=20, seed="twenty")
    assert_same_run(tmp_path / "run", expected)


def wait_for(folder, meta_step):
    """Wait until a run has written the record of a meta-step."""
    path, began = folder / "metrics.jsonl", time.monotonic()
    while time.monotonic() - began < 300:  # a start takes minutes where much else runs
        if path.exists() and f'"meta_step": {meta_step},' in path.read_text():
            return
        time.sleep(0.05)
    raise AssertionError(f"no meta-step {meta_step} in {folder}")


@pytest.mark.parametrize(
    "number", [signal.SIGTERM, pytest.param(signal.SIGINT, marks=pytest.mark.slow)]
)
def test_a_signal_saves_and_the_same_command_goes_on(number, undisturbed, tmp_path, capsys):
    expected = undisturbed("pes")
    command = (*TINY, f"--workdir={tmp_path}", "--config.checkpoint.every_steps=0")
    process = start(*command)
    wait_for(tmp_path, 20)
    began = time.monotonic()
    process.send_signal(number)
    output, _ = process.communicate(timeout=60)
    assert time.monotonic() - began < 5
    assert process.returncode == 75, output
    assert f"{signal.Signals(number).name}: saving after this meta-step" in output
    assert Store(tmp_path / "checkpoints").numbers()[-1] >= 20
    finish(*command)
    assert "resuming after meta-step" in capsys.readouterr().out
    assert_same_run(tmp_path, expected)


def test_a_signal_before_the_first_meta_step_ends_at_once(tmp_path):
    process = start_silent(*TINY[:2], f"--workdir={tmp_path}")
    for _ in range(600):
        if (tmp_path / "config.json").exists():
            break
        time.sleep(0.05)
    process.terminate()
    began = time.monotonic()
    process.wait(timeout=60)
    assert time.monotonic() - began < 2
    assert (process.returncode, (tmp_path / "checkpoints").exists()) == (75, False)


def test_a_second_signal_ends_at_once(tmp_path):
    program = (
        "import time\n"
        "from launch.signals import StopSignals\n"
        "with StopSignals() as signals:\n"
        "    signals.unsaved = lambda: True\n"
        "    print('ready', flush=True)\n"
        "    time.sleep(60)\n"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", program], env=environment(), stdout=subprocess.PIPE, text=True
    )
    assert process.stdout.readline() == "ready\n"
    process.send_signal(signal.SIGINT)
    time.sleep(0.5)
    assert process.poll() is None
    process.send_signal(signal.SIGTERM)
    assert process.wait(timeout=5) == 128 + signal.SIGTERM
    process.stdout.close()


@pytest.fixture(scope="module")
def finished(undisturbed):
    return undisturbed("pes")


@pytest.fixture
def run_folder(finished, tmp_path):
    """A copy of a finished run, to be damaged."""
    folder = tmp_path / "copy"
    shutil.copytree(finished, folder)
    (folder / "finished.json").unlink()
    return folder


def meta_train(folder, *more):
    return cli.main(["meta-train", *TINY, f"--workdir={folder}", *more])


def test_a_finished_run_says_so(finished, capsys):
    assert meta_train(finished) == 0
    assert f"{finished} is finished: 60 meta-steps are done" in capsys.readouterr().out


def test_another_config_is_refused_with_the_fields_that_differ(run_folder, user_error):
    before = sorted(run_folder.rglob("*"))
    line = user_error(
        "meta-train", *TINY, f"--workdir={run_folder}",
        "--config.estimator.std=0.5", "--config.seed=4",
    )  # fmt: skip
    assert "config.estimator.std: 0.01 -> 0.5; config.seed: 0 -> 4" in line
    assert "--allow_config_change" in line
    assert sorted(run_folder.rglob("*")) == before


def test_fields_that_change_no_numbers_may_differ(run_folder, capsys):
    more = ("--config.meta_steps=64", "--config.log_every_steps=2", "--config.devices.count=None")
    assert meta_train(run_folder, *more) == 0
    shown = capsys.readouterr().out
    assert "config.meta_steps: 60 -> 64; the learning-rate schedule (cosine)" in shown
    assert records(run_folder)[-1]["meta_step"] == 64


def test_allowed_changes_are_explained(run_folder, capsys):
    more = ("--config.meta_steps=64", "--config.estimator.num_pairs=4", "--allow_config_change")
    assert meta_train(run_folder, *more) == 0
    shown = capsys.readouterr().out
    assert "config.estimator.num_pairs: 2 -> 4" in shown
    assert "all particles start new episodes" in shown
    assert "resuming after meta-step 60" in shown


def test_a_change_of_the_meta_optimizer_keeps_the_particles(run_folder, capsys):
    more = (
        "--config.meta_steps=64",
        "--config.meta_optimizer.name=sgd",
        "--config.meta_optimizer.b2=0.5",
        "--allow_config_change",
    )
    # b2 is not sgd's: the config is refused before anything is restored.
    assert meta_train(run_folder, *more) == 2
    more = ("--config.meta_steps=64", "--config.meta_optimizer.b2=0.5", "--allow_config_change")
    assert meta_train(run_folder, *more) == 0
    assert "particles, accumulators and clocks are kept" in capsys.readouterr().out


def test_another_runs_checkpoint_starts_a_new_run(finished, tmp_path, capsys):
    more = (f"--restore_from={finished}", "--config.meta_steps=64")
    assert meta_train(tmp_path, *more) == 0
    assert f"resuming after meta-step 60, from {finished}" in capsys.readouterr().out
    assert [line["meta_step"] for line in records(tmp_path) if "snr" in line] == [*range(61, 65)]
    line = "holds no checkpoints of a run"
    assert meta_train(tmp_path / "other", f"--restore_from={tmp_path / 'events'}") == 2
    assert line in capsys.readouterr().err


def damage(folder, number):
    path = folder / "checkpoints" / str(number) / "manifest.json"
    path.write_bytes(path.read_bytes()[:-5])


def test_a_damaged_checkpoint_is_named_and_the_one_before_taken(run_folder, finished, capsys):
    numbers = Store(run_folder / "checkpoints").numbers()
    damage(run_folder, numbers[-1])
    finish(*TINY, f"--workdir={run_folder}")
    shown = capsys.readouterr().out
    assert f"checkpoints/{numbers[-1]} is damaged: manifest.json" in shown
    assert f"resuming after meta-step {numbers[-2]}" in shown
    assert_same_run(run_folder, finished)


def test_with_all_checkpoints_damaged_nothing_is_touched(run_folder, capsys):
    for number in Store(run_folder / "checkpoints").numbers():
        damage(run_folder, number)
    before = {p: p.stat().st_mtime_ns for p in run_folder.rglob("*")}
    assert meta_train(run_folder) == 1
    error = capsys.readouterr().err
    assert "all checkpoints in" in error
    assert len(error.splitlines()) == 1
    assert {p: p.stat().st_mtime_ns for p in run_folder.rglob("*")} == before


def test_a_run_stopped_before_its_first_checkpoint_starts_again(run_folder, finished, capsys):
    shutil.rmtree(run_folder / "checkpoints")
    finish(*TINY, f"--workdir={run_folder}")
    shown = capsys.readouterr().out
    assert "stopped before its first checkpoint" in shown
    assert_same_run(run_folder, finished)


def test_another_run_without_checkpoints_is_left_alone(run_folder, user_error):
    shutil.rmtree(run_folder / "checkpoints")
    line = user_error("meta-train", *TINY, f"--workdir={run_folder}", "--config.seed=9")
    assert "config.seed: 0 -> 9" in line


def test_inspect(run_folder, capsys):
    numbers = Store(run_folder / "checkpoints").numbers()
    assert cli.main(["inspect", str(run_folder), "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert report["steps"] == numbers
    assert report["latest_step"] == numbers[-1] == 60
    assert report["damaged"] == []
    assert len(report["theta_sha256"]) == 64
    assert report["versions"]["jax"] == jax.__version__
    damage(run_folder, 60)
    assert cli.main(["inspect", str(run_folder), "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert report["damaged"] == [60]
    assert report["latest_step"] == numbers[-2]
    assert cli.main(["inspect", str(run_folder)]) == 0
    shown = capsys.readouterr().out
    assert "damaged: manifest.json" in shown
    assert "not finished" in shown


def test_inspect_mistakes(user_error, tmp_path):
    assert "WORKDIR is missing" in user_error("inspect")
    assert "does not exist" in user_error("inspect", tmp_path / "none")
    assert "holds no run" in user_error("inspect", tmp_path)


def test_a_run_from_python_can_be_inspected_and_nothing_else(tmp_path, capsys, user_error):
    with closing(toy(tmp_path, 2)) as run:
        run.train()
        run.save()
    assert cli.main(["inspect", str(tmp_path)]) == 0
    assert "meta-step 2, not finished; meta-loss" in capsys.readouterr().out
    assert "made from Python" in user_error("meta-train", *TINY, f"--workdir={tmp_path}")
    assert "made from Python" in user_error("export", tmp_path, tmp_path / "out")
