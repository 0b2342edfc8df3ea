import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from launch import errors
from launch.launchers import local

ROOT = Path(__file__).resolve().parents[3]

WORKER = """
import json, os, pathlib, signal, sys, time
folder, index = pathlib.Path(sys.argv[1]), sys.argv[2]
log = folder / f"worker{index}.jsonl"
tries = len(log.read_text().splitlines()) if log.exists() else 0
plan = json.loads((folder / "plan.json").read_text())[int(index)]
deed = plan[min(tries, len(plan) - 1)]
if deed == "save":
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(75))
if deed == "deaf":
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
cores = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else None
with log.open("a") as file:
    file.write(json.dumps({"pid": os.getpid(), "cores": cores}) + "\\n")
print(f"try {tries}", flush=True)
if deed == "kill":
    os.kill(os.getpid(), signal.SIGKILL)
if isinstance(deed, int):
    sys.exit(deed)
time.sleep(60)
"""

LAUNCHER = """
import sys
from launch.launchers import backoff, local
backoff.FIRST_SECONDS = float(sys.argv[2])
command = [sys.executable, "-IS", sys.argv[1] + "/worker.py", sys.argv[1]]
sys.exit(local.supervise(lambda: [[*command, "0"], [*command, "1"]], max_restarts=1))
"""


class Plan:
    """What workers 0 and 1 do in their tries, the last deed again and again.

    A number is an exit status; "kill": die by SIGKILL; "save": end with 75 on SIGTERM; "deaf":
    ignore SIGTERM; "hang": die of SIGTERM.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        (folder / "worker.py").write_text(WORKER)

    def write(self, *deeds) -> None:
        (self.folder / "plan.json").write_text(json.dumps(deeds))

    def commands(self):
        program = str(self.folder / "worker.py")
        command = [sys.executable, "-IS", program, str(self.folder)]
        return [[*command, str(index)] for index in range(2)]

    def log(self, index: int) -> list[dict]:
        file = self.folder / f"worker{index}.jsonl"
        return [json.loads(line) for line in file.read_text().splitlines()] if file.exists() else []

    def tries(self) -> list[int]:
        return [len(self.log(index)) for index in range(2)]


@pytest.fixture
def plan(tmp_path, no_waiting):
    return Plan(tmp_path)


def supervise(plan, **options):
    settings = {"max_restarts": 2, "grace_seconds": 0.1, **options}
    return local.supervise(plan.commands, **settings)


@pytest.fixture
def launcher(plan):
    """A launcher in a process of its own, whose workers have all started."""
    processes = []

    def start(*deeds, backoff="0.01", tries=1):
        plan.write(*deeds)
        process = subprocess.Popen(
            [sys.executable, "-c", LAUNCHER, str(plan.folder), backoff],
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        processes.append(process)
        await_(lambda: plan.tries() == [tries, tries])
        return process

    yield start
    for process in processes:
        process.kill()
        process.communicate()


def await_(condition, seconds=10):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.01)


def is_running(pid):
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    # Whoever inherits orphans here may be slow to collect them.
    stat = Path(f"/proc/{pid}/stat")
    return not stat.exists() or stat.read_text().rpartition(")")[2].split()[0] != "Z"


def test_all_succeed(plan, capfd):
    plan.write([0], [0])
    assert supervise(plan) == errors.DONE
    captured = capfd.readouterr()
    assert captured.out == "try 0\n"
    assert captured.err == "[1] try 0\n"


@pytest.mark.parametrize("victim", [0, 1])
def test_one_dies_and_all_are_started_again(plan, capfd, victim):
    deeds = [["hang", 0], ["hang", 0]]
    deeds[victim][0] = "kill"
    plan.write(*deeds)
    assert supervise(plan) == errors.DONE
    assert plan.tries() == [2, 2]
    assert not any(is_running(plan.log(index)[0]["pid"]) for index in range(2))
    said = capfd.readouterr().err
    assert f"lopt: worker {victim} was ended by SIGKILL; restart 1 of 2 in 0.001 s\n" in said


def test_deaf_worker_is_ended_too(plan):
    plan.write(["kill", 0], ["deaf", 0])
    assert supervise(plan) == errors.DONE
    assert plan.tries() == [2, 2]


def test_others_may_end_by_themselves(plan):
    plan.write([3, 0], [0])
    assert supervise(plan, grace_seconds=60) == errors.DONE


@pytest.mark.parametrize("deeds", [([2], ["hang"]), (["hang"], [2]), ([2], [2])])
def test_a_mistake_is_not_tried_again(plan, deeds):
    plan.write(*deeds)
    assert supervise(plan, grace_seconds=60) == errors.USER_ERROR
    assert max(plan.tries()) == 1  # the other may have been ended before it did anything


def test_tries_are_bounded(plan):
    plan.write(["hang"], [134])
    with pytest.raises(errors.RunFailed, match=r"worker 1 was ended by SIGABRT in the last of 3"):
        supervise(plan)
    assert plan.tries()[1] == 3


def test_no_restarts(plan):
    plan.write([0], [7])
    with pytest.raises(errors.RunFailed, match="worker 1 ended with status 7 in the only try"):
        supervise(plan, max_restarts=0)


def test_worker_that_was_stopped_by_itself(plan):
    plan.write([75], [134])
    assert supervise(plan) == errors.STOPPED
    assert plan.tries() == [1, 1]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_signal_is_forwarded(launcher, plan, number):
    process = launcher(["save"], ["save"])
    process.send_signal(number)
    assert process.wait(10) == errors.STOPPED
    assert plan.tries() == [1, 1]


def test_worker_that_has_nothing_to_save_yet(launcher):
    process = launcher(["hang"], ["hang"])
    process.terminate()
    assert process.wait(10) == errors.STOPPED


def test_second_signal_kills(launcher, plan):
    process = launcher(["deaf"], ["deaf"])
    process.terminate()
    time.sleep(0.2)
    assert process.poll() is None
    process.terminate()
    assert process.wait(10) == 128 + signal.SIGTERM
    assert not any(is_running(plan.log(index)[0]["pid"]) for index in range(2))


def test_signal_between_tries(launcher, plan):
    process = launcher([3], [0], backoff="60")
    await_(lambda: "restart 1 of 1" in process.stderr.readline())
    process.terminate()
    assert process.wait(10) == errors.STOPPED
    assert plan.tries() == [1, 1]


def test_no_orphans_of_a_killed_launcher(launcher, plan):
    process = launcher(["deaf"], ["deaf"])
    process.kill()
    await_(lambda: not any(is_running(plan.log(index)[0]["pid"]) for index in range(2)))


@pytest.mark.skipif(not hasattr(os, "sched_getaffinity"), reason="pinning needs Linux")
def test_workers_keep_to_their_cores(plan):
    plan.write([0], [0])
    available = sorted(os.sched_getaffinity(0))
    cores = [available[:1], available[-1:]]
    assert supervise(plan, cores=cores) == errors.DONE
    assert [plan.log(index)[0]["cores"] for index in range(2)] == cores
    assert sorted(os.sched_getaffinity(0)) == available


@pytest.mark.parametrize(
    ("processes", "each", "expected"),
    [
        (2, None, [[0, 1], [2, 5]]),
        (3, None, [[0], [1], [2]]),
        (2, 1, [[0], [1]]),
        (6, None, [[0], [1], [2], [5], [0], [1]]),
    ],
)
def test_cores_are_split_evenly(monkeypatch, processes, each, expected):
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {5, 2, 0, 1}, raising=False)
    assert local.split_cores(processes, each) == expected


def test_system_that_cannot_pin(monkeypatch):
    monkeypatch.delattr(os, "sched_getaffinity", raising=False)
    assert local.split_cores(2, None) is None
    with pytest.raises(errors.UserError, match="cannot pin"):
        local.split_cores(2, 1)


def test_every_try_has_a_port_of_its_own(monkeypatch):
    seen = []

    def supervise(commands, *settings):
        seen.extend([commands(), commands()])
        return 0

    monkeypatch.setattr(local, "supervise", supervise)
    words = ["--config=a", "--workdir=w"]
    assert local.run(["--processes=2", "--", *words]) == 0
    for commands in seen:
        (address,) = {command[-3] for command in commands}
        assert address.startswith("--coordinator_address=127.0.0.1:")
        assert [command[-2:] for command in commands] == [
            ["--num_processes=2", f"--process_id={index}"] for index in range(2)
        ]
        assert all(command[-5:-3] == words for command in commands)


def test_real_command_is_found_from_any_folder(tmp_path, monkeypatch):
    (tmp_path / "launch.py").write_text("raise SystemExit('the wrong launch')")
    monkeypatch.chdir(tmp_path)
    command = local.commands(["--help"], 1, "1")[0]
    shown = subprocess.run(
        command,
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        check=True,
    ).stdout
    assert shown.startswith("usage: lopt meta-train")
