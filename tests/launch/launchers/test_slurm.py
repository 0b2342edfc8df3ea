import string
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from launch import cli, errors
from launch.launchers import slurm

RUN = ("--config=a", "--workdir=/shared/run")
PLAIN = {*string.ascii_letters, *string.digits, *".,:/%@+=_-"}
TEXT = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"))


def script(words=RUN, **fields):
    given = {"nodes": 2, "time": "1:00:00", "max_restarts": 3, **fields}
    return slurm.script(slurm.Job(words=tuple(words), **given))


def bash(script, **environment):
    """Run a job script with functions in place of Slurm's commands."""
    fakes = """
    srun() { echo srun "$@"; return "$SRUN_STATUS"; }
    squeue() { echo "$STATE"; }
    scontrol() { echo scontrol "$@"; }
    sleep() { echo sleep "$@"; }
    """
    return subprocess.run(
        ["bash", "-c", fakes + script],
        env={"SLURM_JOB_ID": "7", "STATE": "RUNNING", "SRUN_STATUS": "0", **environment},
        capture_output=True,
        text=True,
        check=False,
    )


@given(words=st.lists(TEXT, max_size=3))
def test_words_reach_the_worker_unchanged(words):
    source = script(words)
    assert subprocess.run(["bash", "-n"], input=source.encode(), check=False).returncode == 0
    record = "sleep() { :; }\nsrun() { printf '%s\\0' \"$@\"; }\n"
    shown = subprocess.run(
        ["bash", "-c", record + source], capture_output=True, env={}, check=False
    ).stdout
    after_lopt = shown.decode().split("\0")[4:-1]
    assert after_lopt == [*words, "--distributed"]


@given(
    value=TEXT | st.text(sorted(PLAIN)),
    name=st.sampled_from(["name", "time", "partition", "account", "qos", "output"]),
)
def test_directive_is_one_plain_line_or_refused(value, name):
    if value.isascii() and value and not set(value) - PLAIN:
        option = "job-name" if name == "name" else name
        assert f"\n#SBATCH --{option}={value}\n" in script(**{name: value})
    else:
        with pytest.raises(errors.UserError, match=f"--{name}="):
            script(**{name: value})


def test_shellcheck_has_nothing_to_say(tmp_path):
    shellcheck = Path(sys.executable).with_name("shellcheck")  # a development dependency
    hostile = [*RUN, '--config.x=it\'s "a"; `b` \n c']
    for name, words in {"plain": RUN, "hostile": hostile}.items():
        file = tmp_path / f"{name}.sh"
        file.write_text(script(words, gpus_per_node=4, cpus_per_task=2))
        # SC2016 asks whether a $ or ` in single quotes is meant; in a user's value it is.
        command = [shellcheck, "--exclude=SC2016", file]
        result = subprocess.run(command, capture_output=True, text=True, check=False)
        assert (result.returncode, result.stdout) == (0, "")


@pytest.mark.parametrize(
    ("status", "restarts", "state", "requeued"),
    [
        (0, 0, "RUNNING", False),
        (2, 0, "RUNNING", False),
        (75, 0, "RUNNING", True),
        (134, 2, "RUNNING", True),
        (134, 3, "RUNNING", False),  # the last try
        (75, 0, "COMPLETING", False),  # cancelled
        (75, 0, "", False),
    ],
)
def test_requeue(status, restarts, state, requeued):
    result = bash(
        script(),
        SRUN_STATUS=str(status),
        SLURM_RESTART_COUNT=str(restarts),
        STATE=state,
    )
    assert result.returncode == status
    assert ("scontrol requeue 7" in result.stdout) == requeued
    assert f"sleep {[0, 2, 4, 8][restarts]}\n" in result.stdout
    if status == 134 and restarts == 3:
        assert "last of 4 tries" in result.stderr


def test_first_try_has_no_restart_count():
    assert "sleep 0\n" in bash(script()).stdout


def test_preempted_too_often():
    result = bash(script(), SLURM_RESTART_COUNT="4")
    assert result.returncode == 1
    assert "srun" not in result.stdout


def test_gpus_have_a_process_each():
    source = script(gpus_per_node=4)
    assert "#SBATCH --ntasks-per-node=4\n#SBATCH --gpus-per-node=4\n" in source


def test_script_is_submitted_through_stdin(fake_tools):
    fake_tools.add("sbatch", reads_stdin=True)
    command = ["launch", "slurm", "--nodes=2", "--time=1:00:00", "--max_restarts=3", "--", *RUN]
    assert cli.main(command) == 0
    assert fake_tools.calls() == [(["sbatch"], script())]


def test_refused_submission(fake_tools, capfd):
    fake_tools.add("sbatch", reads_stdin=True)
    fake_tools.answer({"sbatch": [{"status": 1, "stderr": "invalid partition\n"}]})
    assert cli.main(["launch", "slurm", "--nodes=2", "--time=1:00:00", "--", *RUN]) == 1
    assert (
        capfd.readouterr().err == "invalid partition\nlopt: error: `sbatch` ended with status 1\n"
    )
