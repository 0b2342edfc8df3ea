import json
import os
import sys
from pathlib import Path

import pytest

from launch import cli
from launch.launchers import backoff

HERE = Path(__file__).resolve().parent

FAKE_TOOL = """\
#!{python} -IS
import json, pathlib, sys
folder = pathlib.Path({folder!r})
words = sys.argv[1:]
stdin = "" if sys.stdin is None or sys.stdin.isatty() or {quiet!r} else sys.stdin.read()
with open(folder / "calls.jsonl", "a") as calls:
    calls.write(json.dumps([[{name!r}, *words], stdin]) + "\\n")
answers_file = folder / "answers.json"
answers = json.loads(answers_file.read_text())
for key, left in answers.items():
    if left and key in " ".join([{name!r}, *words]):
        answer = left.pop(0)
        answers_file.write_text(json.dumps(answers))
        sys.stdout.write(answer.get("stdout", ""))
        sys.stderr.write(answer.get("stderr", ""))
        sys.exit(answer.get("status", 0))
"""


class FakeTools:
    """Programs on a PATH of their own which record their calls and answer as told."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.answer({})

    def add(self, name: str, reads_stdin: bool = False) -> None:
        values = {"python": sys.executable, "folder": str(self.folder), "name": name}
        file = self.folder / name
        file.write_text(FAKE_TOOL.format(**values, quiet=not reads_stdin))
        file.chmod(0o755)

    def answer(self, answers: dict) -> None:
        """Part of a command line -> the answers to the calls that contain it, in order."""
        (self.folder / "answers.json").write_text(json.dumps(answers))

    def calls(self) -> list[tuple[list[str], str]]:
        file = self.folder / "calls.jsonl"
        lines = file.read_text().splitlines() if file.exists() else []
        return [tuple(json.loads(line)) for line in lines]


@pytest.fixture
def fake_tools(tmp_path, monkeypatch):
    """An empty PATH for fake tools; the real ones cannot be called."""
    folder = tmp_path / "bin"
    folder.mkdir()
    monkeypatch.setenv("PATH", str(folder))
    return FakeTools(folder)


@pytest.fixture
def no_waiting(monkeypatch):
    monkeypatch.setattr(backoff, "FIRST_SECONDS", 0.001)
    monkeypatch.setattr(backoff, "LIMIT_SECONDS", 0.01)


@pytest.fixture
def dry_run(capsys, monkeypatch, tmp_path):
    """What a launcher prints with ``--dry_run``, on a machine with four cores and no tools."""

    def call(launcher: str, *words: str) -> str:
        monkeypatch.setenv("PATH", str(tmp_path))
        monkeypatch.chdir(tmp_path)
        monkeypatch.setattr(sys, "executable", "python")
        monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0, 1, 2, 3}, raising=False)
        assert cli.main(["launch", launcher, "--dry_run", *words]) == 0
        captured = capsys.readouterr()
        assert captured.err == ""
        return captured.out

    return call


@pytest.fixture
def same_as_golden():
    """Compare with a file in golden/; LOPT_UPDATE_GOLDEN=1 writes the files anew, for review."""

    def compare(name: str, text: str) -> None:
        file = HERE / "golden" / name
        if os.environ.get("LOPT_UPDATE_GOLDEN"):
            file.write_text(text)
        assert text == file.read_text()

    return compare
