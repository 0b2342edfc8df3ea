"""A file system that is full for a while, or to the end; it is a real one, 4 MB in memory.

Where it fills up within a save, threads of Orbax never end: such runs are processes of their own.
"""

import os
import subprocess

import pytest

from checkpoints import Saver, Store
from launch import cli
from tests.launch.test_resume import TINY, assert_same_run, finish, start, wait_for

RUN = (
    *TINY,
    "--config.meta_steps=200",
    "--config.checkpoint.every_steps=20",
    "--config.meta_validation.every_steps=0",
)


@pytest.fixture
def small_disk(tmp_path):
    folder = tmp_path / "disk"
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", str(folder)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip(f"a small file system can be mounted by root alone: {done.stderr.strip()}")
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True)


def fill(folder):
    """Leave no byte free."""
    with (folder / "filler").open("wb", buffering=0) as file:
        for size in (4096, 1):
            try:
                while True:
                    file.write(bytes(size))
            except OSError:
                continue


def read_until(process, words):
    """Output up to the line that has ``words``."""
    seen = ""
    for line in process.stdout:
        seen += line
        if words in line:
            return seen
    raise AssertionError(f"{words!r} was not said: {seen}")


@pytest.mark.slow
def test_training_goes_on_and_nothing_is_missing_when_there_is_space_again(small_disk, tmp_path):
    finish(*RUN, f"--workdir={tmp_path / 'undisturbed'}")
    process = start(*RUN, f"--workdir={small_disk / 'run'}")
    wait_for(small_disk / "run", 60)
    fill(small_disk)
    seen = read_until(process, "could not be saved (No space left on device); training continues")
    good = Store(small_disk / "run" / "checkpoints").numbers()
    assert good
    os.unlink(small_disk / "filler")
    output, _ = process.communicate(timeout=120)
    assert process.returncode == 0, seen + output
    assert_same_run(small_disk / "run", tmp_path / "undisturbed")


@pytest.mark.slow
def test_the_end_is_no_success_if_it_cannot_be_saved(small_disk):
    process = start(*RUN, f"--workdir={small_disk / 'run'}")
    wait_for(small_disk / "run", 60)
    fill(small_disk)
    output, _ = process.communicate(timeout=120)
    assert process.returncode == 1, output
    assert "lopt: error: the state after meta-step 200 could not be saved" in output
    # No word about tracebacks: where the disk fills up within a save, threads of Orbax print some.
    store = Store(small_disk / "run" / "checkpoints")
    assert store.numbers()
    for number in store.numbers():
        store.verify(number)


def test_an_unwritable_folder_while_saving(tmp_path, monkeypatch, capsys):
    """A file where the folder of checkpoints should be, as root may write everywhere."""
    save = Saver.save

    def put_a_file_in_the_way(saver, number, *content):
        if number == 60:
            saver.wait()
            (tmp_path / "checkpoints").rename(tmp_path / "elsewhere")
            (tmp_path / "checkpoints").write_text("in the way")
        return save(saver, number, *content)

    monkeypatch.setattr(Saver, "save", put_a_file_in_the_way)
    assert cli.main(["meta-train", *RUN, f"--workdir={tmp_path}"]) == 1
    shown = capsys.readouterr()
    assert shown.err.startswith("lopt: error: ")
    assert len(shown.err.splitlines()) == 1
    assert "could not be saved" in shown.err
    assert Store(tmp_path / "elsewhere").numbers()
