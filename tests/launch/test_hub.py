"""``lopt push`` and ``lopt pull``; tests/lopt/test_hub.py has what they do."""

import os
import subprocess
import sys

import pytest

from lopt import shipped
from tests.hub_server import TOKEN, serving

pytest.importorskip("huggingface_hub", reason="pip install lopt[hub]")
ADDRESS = "hf://me/tiny"


PROGRAM = """
import sys
from launch import cli
print([cli.main(line.split()) for line in sys.argv[1:]])
"""


def test_commands(tmp_path):
    """In a process of their own, told of the hub by huggingface_hub's own variables."""
    lines = (
        f"push general {ADDRESS}",
        f"pull {ADDRESS}@main {tmp_path / 'out'}",
        f"pull hf://me/other {tmp_path / 'other'}",
    )
    with serving() as (served, endpoint):
        settings = {"HF_ENDPOINT": endpoint, "HF_HOME": str(tmp_path / "home"), "HF_TOKEN": TOKEN}
        done = subprocess.run(
            [sys.executable, "-c", PROGRAM, *lines],
            env={**os.environ, **settings, "HF_HUB_DISABLE_PROGRESS_BARS": "1"},
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        (oid,) = served.repos["me/tiny"]
    pushed, pulled, statuses = done.stdout.splitlines()
    assert pushed == f"pushed; lopt.load('{ADDRESS}@{oid}') always means this bundle"
    assert pulled == f"{tmp_path / 'out'}: the bundle at {ADDRESS}@main"
    assert statuses == "[0, 0, 2]"
    (line,) = done.stderr.splitlines()
    assert line.startswith("lopt: error: hf://me/other does not exist, or is not open to you")
    for file in (shipped.FOLDER / "general").iterdir():
        assert (tmp_path / "out" / file.name).read_bytes() == file.read_bytes()


def test_mistakes_are_one_line(user_error, tmp_path, monkeypatch):
    monkeypatch.delenv("HF_TOKEN", raising=False)
    monkeypatch.setattr("huggingface_hub.constants.HF_TOKEN_PATH", str(tmp_path / "token"))
    assert "ADDRESS is missing" in user_error("push", "general")
    assert "OUT is missing" in user_error("pull", ADDRESS)
    assert "needs a token of the hub" in user_error("push", "general", ADDRESS)
    assert "is not the address" in user_error("push", "general", "me/tiny")
    assert "does not exist" in user_error("push", "genral", ADDRESS)


@pytest.mark.parametrize("words", [("pull", ADDRESS, "out"), ("inspect", ADDRESS)])
def test_missing_library_is_named(words, user_error, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    expected = "needs huggingface_hub, which is not installed; run pip install 'lopt[hub]'"
    assert expected in user_error(*words)
