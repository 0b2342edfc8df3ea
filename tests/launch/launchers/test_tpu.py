import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from launch import cli
from launch.launchers.tpu import Pod

ROOT = Path(__file__).resolve().parents[3]
RUN = ("--config=a", "--workdir=/mnt/b/c")
LAUNCH = (
    "launch",
    "tpu",
    "--name=pod",
    "--zone=z",
    "--accelerator_type=v4-32",
    "--runtime_version=r",
    "--package=lopt",
)
TEXT = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"))
ACTIVE = {"stdout": "ACTIVE\n"}
ABSENT = {"status": 1, "stderr": "ERROR: NOT_FOUND: no such resource\n"}
START, INSTALL = "systemd-run", "pip install"


def pod(**fields):
    known = {"name": "pod", "zone": "z", "accelerator_type": "v4-32", "runtime_version": "r"}
    return Pod(**{**known, "package": "lopt", "words": RUN, **fields})


def remote(command):
    """What the hosts' shell makes of a command: the words of every program it calls."""
    assert command[-1].startswith("--command=")
    record = """
    called() { printf '%s\\0' "$@"; printf '\\0\\0'; }
    sudo() { called sudo "$@"; }
    python3() { called python3 "$@"; }
    id() { echo me; }
    """
    script = record + command[-1].removeprefix("--command=")
    result = subprocess.run(
        ["bash", "-c", script], capture_output=True, cwd="/tmp", env={}, check=True
    )
    calls = result.stdout.decode().split("\0\0\0")
    return [call.split("\0") for call in calls if call]


def steps(fake_tools):
    """The calls of gcloud, each by what it does."""
    names = {
        "create": "create",
        "describe": "describe",
        "delete": "delete",
        START: "start",
        INSTALL: "install",
        "systemctl stop": "stop",
    }
    lines = [" ".join(words) for words, _ in fake_tools.calls()]
    return [next(name for part, name in names.items() if part in line) for line in lines]


@given(words=st.lists(TEXT.filter(bool), max_size=3))
def test_words_reach_the_worker_unchanged(words):
    stop, start = remote(pod(words=tuple(words)).start())
    assert stop == ["sudo", "systemctl", "stop", "lopt"]
    program = start.index("--") + 1
    assert start[program] == "/tmp/lopt-env/bin/lopt"
    # systemd reads $$ as $, and is asked nothing else.
    taken = [word.replace("$$", "$") for word in start[program + 1 :]]
    assert taken == ["meta-train", *words, "--distributed"]
    assert not any("$" in word.replace("$$", "") for word in start)


@given(package=TEXT.filter(bool))
def test_package_is_one_word(package):
    assert remote(pod(package=package).install())[-1][-1] == package


def test_run_from_the_first_request_to_the_end(fake_tools, no_waiting):
    fake_tools.add("gcloud")
    fake_tools.answer({"describe": [ABSENT, ABSENT, {"stdout": "PROVISIONING\n"}, ACTIVE]})
    assert cli.main([*LAUNCH, "--delete", "--", *RUN]) == 0
    assert steps(fake_tools) == [
        *("describe", "describe", "create", "describe", "describe"),
        *("install", "start", "delete"),
    ]


def test_failed_runs_are_started_again(fake_tools, no_waiting, capfd):
    fake_tools.add("gcloud")
    failures = [{"status": 255}, {"status": 75}, {"status": 0}]
    fake_tools.answer({"describe": [ACTIVE] * 4, START: failures})
    assert cli.main([*LAUNCH, "--", *RUN]) == 0
    assert steps(fake_tools).count("start") == 3
    assert steps(fake_tools).count("install") == 1
    assert "create" not in steps(fake_tools)
    assert "delete" not in steps(fake_tools)
    assert "status 255; restart 1 of 10" in capfd.readouterr().err


@pytest.mark.parametrize("state", ["SUSPENDED", "FAILED"])
def test_preempted_pod_is_requested_anew(fake_tools, no_waiting, state):
    fake_tools.add("gcloud")
    gone = [ACTIVE, ACTIVE, {"stdout": "SUSPENDING\n"}, {"stdout": f"{state}\n"}, ACTIVE]
    fake_tools.answer({"describe": gone, START: [{"status": 255}]})
    assert cli.main([*LAUNCH, "--", *RUN]) == 0
    assert steps(fake_tools) == [
        *("describe", "describe", "install", "start"),
        *("describe", "describe", "delete", "create", "describe", "install", "start"),
    ]


def test_a_mistake_is_not_tried_again(fake_tools, no_waiting):
    fake_tools.add("gcloud")
    fake_tools.answer({"describe": [ACTIVE] * 2, START: [{"status": 2}]})
    assert cli.main([*LAUNCH, "--delete", "--", *RUN]) == 2
    assert steps(fake_tools).count("start") == 1
    assert steps(fake_tools)[-1] == "delete"


def test_tries_are_bounded(fake_tools, no_waiting, capfd):
    fake_tools.add("gcloud")
    fake_tools.answer({"describe": [ACTIVE] * 9, START: [{"status": 1}] * 9})
    assert cli.main([*LAUNCH, "--max_restarts=2", "--", *RUN]) == 1
    assert steps(fake_tools).count("start") == 3
    assert "status 1 in the last of 3 tries" in capfd.readouterr().err


def test_pod_that_cannot_be_had(fake_tools, no_waiting, capfd):
    fake_tools.add("gcloud")
    fake_tools.answer({"describe": [ABSENT, ABSENT, {"stdout": "FAILED\n"}]})
    assert cli.main([*LAUNCH, "--max_restarts=0", "--", *RUN]) == 1
    assert "queued resource pod is FAILED" in capfd.readouterr().err


def test_unusable_account_is_said_at_once(fake_tools, no_waiting, capfd):
    fake_tools.add("gcloud")
    fake_tools.answer({"describe": [{"status": 1, "stderr": "ERROR: not logged in\n"}]})
    assert cli.main([*LAUNCH, "--delete", "--", *RUN]) == 1
    assert "not logged in" in capfd.readouterr().err
    assert steps(fake_tools) == ["describe"]


GCLOUD = """\
#!{python} -IS
import pathlib, sys, time
folder, words = pathlib.Path({folder!r}), " ".join(sys.argv[1:])
if "describe" in words:
    print("ACTIVE")
elif "systemd-run" in words:
    (folder / "running").touch()
    while not (folder / "stopped").exists():
        time.sleep(0.01)
    sys.exit(75)
elif "systemctl stop" in words:
    (folder / "stopped").touch()
"""


def test_signal_is_handed_on_to_the_hosts(tmp_path):
    gcloud = tmp_path / "gcloud"
    gcloud.write_text(GCLOUD.format(python=sys.executable, folder=str(tmp_path)))
    gcloud.chmod(0o755)
    process = subprocess.Popen(
        [sys.executable, "-m", "launch.cli", *LAUNCH, "--", *RUN],
        env={**os.environ, "PATH": str(tmp_path), "PYTHONPATH": str(ROOT)},
        stderr=subprocess.DEVNULL,
    )
    try:
        end = time.monotonic() + 10
        while not (tmp_path / "running").exists():
            assert time.monotonic() < end
            time.sleep(0.01)
        process.terminate()
        assert process.wait(10) == 75
    finally:
        process.kill()
        process.wait()
    assert (tmp_path / "stopped").exists()
