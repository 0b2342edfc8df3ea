"""Runs of two processes, each with four devices: one is killed, both are stopped, one resumes."""

import os
import re
import shutil
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

from tests.launch.test_resume import (
    TINY,
    arrays,
    assert_same_run,
    environment,
    wait_for,
)

FIELDS = (
    *TINY,
    "--config.devices.count=None",
    "--config.estimator.num_pairs=8",
    "--config.comparison.num_seeds=0",
    "--config.meta_optimizer.schedule.name=constant",
    "--config.meta_optimizer.schedule.warmup_fraction=0.0",
    "--config.meta_validation.every_steps=0",
    "--config.checkpoint.every_steps=50",
    "--config.log_every_steps=10",
)
META_STEPS = 300


def start(command, *arguments, devices):
    return subprocess.Popen(
        [sys.executable, "-m", "launch.cli", *command, *map(str, arguments)],
        env=environment(devices),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def start_two(folder, meta_steps=META_STEPS):
    launcher = ("launch", "local", "--processes=2", "--max_restarts=1", "--")
    fields = (*FIELDS, f"--config.meta_steps={meta_steps}")
    return start(launcher, *fields, f"--workdir={folder}", devices=4)


def end_of(process, status=0):
    output, _ = process.communicate(timeout=180)
    assert process.returncode == status, output
    return output


def worker(folder, index):
    """Number of the process that is worker ``index`` of the run in ``folder``."""
    listed = subprocess.run(["ps", "-ewwo", "pid,args"], capture_output=True, text=True, check=True)
    pattern = rf"^ *(\d+) .*--workdir={re.escape(str(folder))} .*--process_id={index}$"
    (number,) = re.findall(pattern, listed.stdout, flags=re.MULTILINE)
    return int(number)


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory, compilation_cache):
    folder = tmp_path_factory.mktemp("undisturbed")
    shown = end_of(start_two(folder))
    assert "on 8 x cpu" in shown
    assert "[1] meta-step" not in shown  # one process speaks
    return folder


@pytest.fixture(scope="module")
def alone(tmp_path_factory, compilation_cache):
    """A run on one device, ten meta-steps longer."""
    folder = tmp_path_factory.mktemp("alone")
    longer = (*FIELDS, f"--config.meta_steps={META_STEPS + 10}", f"--workdir={folder}")
    end_of(start(("meta-train",), *longer, devices=1))
    return folder


@pytest.mark.slow
def test_after_kill_9_both_start_again_and_end_like_an_undisturbed_run(undisturbed, tmp_path):
    process = start_two(tmp_path)
    wait_for(tmp_path, 70)
    killed, other = worker(tmp_path, 1), worker(tmp_path, 0)
    os.kill(killed, signal.SIGKILL)
    began = time.monotonic()
    while os.path.exists(f"/proc/{other}"):
        time.sleep(0.1)
    assert time.monotonic() - began < 30
    shown = end_of(process)
    assert "worker 1 was ended by SIGKILL; restart 1 of 1" in shown
    assert "resuming after meta-step" in shown
    assert_same_run(tmp_path, undisturbed)


def test_sigterm_stops_both_after_the_same_meta_step(tmp_path):
    process = start_two(tmp_path, meta_steps=2000)
    wait_for(tmp_path, 20)
    process.terminate()
    shown = end_of(process, status=75)
    (stopped,) = re.findall(r"stopped after meta-step (\d+)", shown)
    assert arrays(tmp_path)["meta_state/meta_step"] == int(stopped)


@pytest.mark.slow
@pytest.mark.parametrize("devices", [8, 1])
def test_one_process_goes_on_where_two_have_stopped(devices, undisturbed, alone, tmp_path):
    folder = tmp_path / "copy"
    shutil.copytree(undisturbed, folder)
    longer = (*FIELDS, f"--config.meta_steps={META_STEPS + 10}")
    shown = end_of(start(("meta-train",), *longer, f"--workdir={folder}", devices=devices))
    assert f"resuming after meta-step {META_STEPS}" in shown
    assert f"on {devices} x cpu" in shown
    expected, found = arrays(alone), arrays(folder)
    for name, array in expected.items():
        np.testing.assert_allclose(found[name], array, rtol=1e-5, atol=1e-6, err_msg=name)
