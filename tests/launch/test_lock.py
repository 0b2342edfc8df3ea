"""One command at a time writes into a work folder; what only reads is not kept out."""

import errno
import os
import signal
import subprocess
import sys

import filelock
import pytest

from checkpoints import Store
from launch import cli, errors, workdir
from meta_train.run import folder_lock
from tests.launch.evaluate.conftest import SMALL
from tests.launch.test_resume import TINY, environment, records, start, wait_for

RUN = (*TINY, "--config.comparison.num_seeds=0", "--config.meta_validation.every_steps=0")


def files(folder):
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_a_second_run_ends_and_the_first_does_not_notice(tmp_path, user_error, capsys):
    folder, out = tmp_path / "run", tmp_path
    command = (*RUN, f"--workdir={folder}")
    first = start(*command)
    try:
        wait_for(folder, 20)  # by then there are checkpoints
        first.send_signal(signal.SIGSTOP)  # it is still going on after all that follows
        os.waitpid(first.pid, os.WUNTRACED)  # until it has stopped
        before = files(folder)
        line = user_error("meta-train", *command)
        assert f"--workdir={folder} is in use" in line
        assert "give another --workdir, or wait" in line
        assert files(folder) == before
        for words in (["inspect"], ["export", f"{out / 'b'}"]):
            assert cli.main([words[0], str(folder), *words[1:]]) == 0
        first.send_signal(signal.SIGCONT)
        shown, _ = first.communicate(timeout=120)
        assert first.returncode == 0, shown
    finally:
        first.kill()
    assert [line["meta_step"] for line in records(folder)] == [*range(1, 61)]
    assert Store(folder / "checkpoints").numbers()[-1] == 60
    assert cli.main(["meta-train", *command]) == 0
    assert "is finished: 60 meta-steps are done" in capsys.readouterr().out


def test_the_lock_ends_with_a_process_that_is_killed(tmp_path):
    program = (
        "import pathlib, sys, time\n"
        "from launch import workdir\n"
        "with workdir.lock(pathlib.Path(sys.argv[1])):\n"
        "    print('held', flush=True)\n"
        "    time.sleep(60)\n"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", program, tmp_path],
        env=environment(), stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert process.stdout.readline() == "held\n"
    with pytest.raises(errors.UserError, match="is in use"), workdir.lock(tmp_path):
        pass
    process.kill()
    process.wait()
    process.stdout.close()
    with workdir.lock(tmp_path):
        pass


def test_evaluations_lock_their_folder_too(tmp_path, user_error):
    with workdir.lock(tmp_path):
        assert "is in use" in user_error("evaluate", *SMALL, f"--workdir={tmp_path}")
    assert [path.name for path in tmp_path.iterdir()] == [folder_lock.NAME]


@pytest.mark.parametrize("number", [errno.ENOSYS, errno.ENOTSUP, errno.ENOLCK])
def test_a_file_system_without_locks_is_told(tmp_path, monkeypatch, capsys, number):
    def refuse(*_):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(filelock.FileLock, "_acquire", refuse)
    with workdir.lock(tmp_path):
        (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"lopt: the file system of {tmp_path} has no locks ")


def test_a_lock_that_cannot_be_opened(tmp_path):
    (tmp_path / folder_lock.NAME).mkdir()
    expected = rf"cannot be locked \(Is a directory: .*{folder_lock.NAME}\); choose another folder"
    with pytest.raises(errors.UserError, match=expected), workdir.lock(tmp_path):
        pass
