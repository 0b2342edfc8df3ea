"""Runs whose work folder is in a bucket: they end like those on a disk, bit for bit.

The server keeps each object as a file, so that what checks folders on a disk checks them too.
"""

import json
import re
import signal
import subprocess
import sys
import threading
import time

import pytest

import lopt
from launch import cli, errors, workdir
from meta_train.run import bucket_lock
from tests.launch.evaluate.conftest import SMALL
from tests.launch.test_resume import (
    TINY,
    assert_same_run,
    damage,
    environment,
    finish,
    kill_at_random,
    start,
    wait_for,
)

SHORT = (*TINY, "--config.meta_steps=12", "--config.meta_validation.every_steps=6")


@pytest.fixture
def remote(bucket, request):
    """A folder in a bucket of this test's own, as an address and as the server keeps it."""
    address, files = bucket
    return f"{address}/{request.node.name}", files / request.node.name


@pytest.fixture
def soon_stale(monkeypatch):
    """A lock that is renewed and becomes stale within a moment."""
    monkeypatch.setattr(bucket_lock, "RENEW_SECONDS", 0.1)
    monkeypatch.setattr(bucket_lock, "STALE_SECONDS", 0.6)
    monkeypatch.setattr(bucket_lock, "_POLL_SECONDS", 0.05)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:Sending a large body:ResourceWarning")  # gcsfs does
def test_every_command_takes_a_bucket(remote, tmp_path, capsys, user_error):
    address, folder = remote
    finish(*SHORT, f"--workdir={tmp_path / 'local'}")
    finish(*SHORT, "--config.profile=(3,4)", f"--workdir={address}/run")
    assert_same_run(folder / "run", tmp_path / "local")
    assert list((folder / "run" / "profile").rglob("*.trace.json.gz"))
    finish(*SHORT, f"--workdir={address}/run")
    assert f"{address}/run is finished: 12 meta-steps are done" in capsys.readouterr().out
    assert cli.main(["inspect", f"{address}/run", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert cli.main(["inspect", str(tmp_path / "local"), "--json"]) == 0
    assert found["theta_sha256"] == json.loads(capsys.readouterr().out)["theta_sha256"]
    assert found["workdir"] == f"{address}/run"
    assert cli.main(["export", f"{address}/run", f"{address}/exported"]) == 0
    assert callable(lopt.load(f"{address}/exported").update)
    assert callable(lopt.load(f"{address}/run/bundle", num_steps=5).update)
    assert cli.main(["evaluate", f"{address}/run", *SMALL, f"--workdir={address}/judged"]) == 0
    for made in ("run", "judged"):
        assert cli.main(["report", f"{address}/{made}"]) == 0
        assert (folder / made / "report.html").stat().st_size > 10_000
    more = ("--config.meta_steps=14", f"--restore_from={address}/run")
    finish(*SHORT, *more, f"--workdir={tmp_path / 'next'}")
    assert f"resuming after meta-step 12, from {address}/run" in capsys.readouterr().out
    assert "holds no checkpoints" in user_error(
        "meta-train", *SHORT, f"--restore_from={address}/none", f"--workdir={tmp_path / 'other'}"
    )
    numbers = found["steps"]
    damage(folder / "run", numbers[-1])
    (folder / "run" / "finished.json").unlink()
    finish(*SHORT, f"--workdir={address}/run")
    shown = capsys.readouterr().out
    assert f"{address}/run/checkpoints/{numbers[-1]} is damaged: manifest.json" in shown
    assert_same_run(folder / "run", tmp_path / "local")


@pytest.mark.slow
def test_twenty_kills(remote, tmp_path):
    address, folder = remote
    finish(*TINY, f"--workdir={tmp_path}")
    kill_at_random("pes", f"{address}/run", kills=20, seed="twenty in a bucket")
    assert_same_run(folder / "run", tmp_path)


@pytest.mark.slow
def test_two_processes_of_one_run(remote, tmp_path):
    address, folder = remote
    for place in (address, tmp_path):
        launcher = ("launch", "local", "--processes=2", "--")
        fields = (*SHORT, "--config.devices.count=None", f"--workdir={place}")
        command = [sys.executable, "-m", "launch.cli", *launcher, *fields]
        done = subprocess.run(
            command, env=environment(), capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr
    assert_same_run(folder, tmp_path)


@pytest.mark.slow
def test_a_second_run_is_refused_and_a_lost_lock_ends_the_first(remote, user_error):
    address, folder = remote
    command = (*TINY, "--config.meta_steps=100000", f"--workdir={address}")
    first = start(*command)
    try:
        wait_for(folder, 20)
        assert f"--workdir={address} is in use: another" in user_error("meta-train", *command)
        first.send_signal(signal.SIGSTOP)
        # As a machine that cannot know whether the process still runs.
        taken = bucket_lock._Lock(workdir.place(address))
        taken._generation = taken._read()[1]
        taken.write()
        first.send_signal(signal.SIGCONT)
        shown, _ = first.communicate(timeout=60)
        assert first.returncode == errors.FAILED
        assert f"another command has taken over --workdir={address}" in shown
    finally:
        first.kill()


def test_a_lock_that_is_renewed_is_held_and_a_stale_one_taken_over(
    remote, soon_stale, capfd, monkeypatch
):
    folder, lost = workdir.place(remote[0]), threading.Event()
    held = pytest.raises(errors.UserError, match=r"is in use: .* \(process")
    with workdir.lock(folder), held, workdir.lock(folder):
        pass
    assert "waiting" not in capfd.readouterr().err
    assert not (remote[1] / ".lock").exists()
    monkeypatch.setattr(bucket_lock, "_machine", lambda: "")  # as where nothing is known of it
    with workdir.lock(folder), held, workdir.lock(folder):
        pass
    assert "waiting up to" in capfd.readouterr().err
    elsewhere = bucket_lock._Lock(folder)
    elsewhere.take()
    with bucket_lock.hold(folder, lost.set):
        assert "waiting up to" in capfd.readouterr().err
        assert not lost.wait(0.3)
        elsewhere._generation = elsewhere._read()[1]
        elsewhere.write()
        assert lost.wait(5)


def test_a_lock_of_a_process_that_has_ended_is_taken_over_at_once(remote, capfd):
    folder = workdir.place(remote[0])
    program = (
        "import os, sys\n"
        "from launch import workdir\n"
        "with workdir.lock(workdir.place(sys.argv[1])):\n"
        "    os._exit(0)\n"
    )
    command = [sys.executable, "-c", program, str(folder)]
    subprocess.run(command, env=environment(), check=True)
    assert (remote[1] / ".lock").exists()
    capfd.readouterr()
    began = time.monotonic()
    with workdir.lock(folder):
        assert time.monotonic() - began < 5
    assert "waiting" not in capfd.readouterr().err


@pytest.mark.parametrize("command", ["meta-train", "inspect", "export", "report"])
def test_without_gcsfs_a_line_says_what_to_install(command, user_error, monkeypatch):
    monkeypatch.setitem(sys.modules, "gcsfs", None)
    words = {
        "meta-train": ("--config=base", "--workdir=gs://bucket/run"),
        "export": ("gs://bucket/run", "out"),
    }
    line = user_error(command, *words.get(command, ("gs://bucket/run",)))
    assert f"`lopt {command}` needs gcsfs, which is not installed" in line
    assert "pip install 'lopt[gcs]'" in line


@pytest.mark.parametrize(
    ("address", "expected"),
    [
        ("gs://no-such-bucket/run", "there is no bucket no-such-bucket, or none for you"),
        ("gs://", "names no bucket"),
        ("gs://bucket/run*", r"has \* in it, which makes it a pattern"),
        ("s3://bucket/run", "only gs:// can be used, as Orbax writes checkpoints to no other"),
    ],
)
def test_addresses_that_cannot_be_used(bucket, address, expected, user_error):
    workdir_of = ("evaluate", "--config=held_out", f"--workdir={address}")
    for command in (("inspect", address), ("report", address), workdir_of):
        assert re.search(expected, user_error(*command))
    with pytest.raises(ValueError, match=expected):
        lopt.load(address)
