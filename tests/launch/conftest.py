import os
import subprocess
import sys
from pathlib import Path
from unittest import mock

import pytest

from launch import cli

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="session", autouse=True)
def compilation_cache(tmp_path_factory):
    """Commands in this process and in others share compiled programs, away from the user's."""
    with mock.patch.dict(os.environ, LOPT_CACHE_DIR=str(tmp_path_factory.mktemp("cache"))):
        yield


@pytest.fixture(scope="session")
def lopt_command(compilation_cache):
    """Run ``lopt`` in a process of its own."""

    def call(*arguments, module="launch.cli", cwd=None, timeout=120):
        environment = {**os.environ, "PYTHONPATH": str(ROOT), "JAX_PLATFORMS": "cpu"}
        return subprocess.run(
            [sys.executable, "-m", module, *map(str, arguments)],
            capture_output=True,
            text=True,
            cwd=cwd,
            env=environment,
            timeout=timeout,
            check=False,
        )

    return call


@pytest.fixture
def user_error(capsys):
    """Call a command in this process; it must fail with one line, which is returned."""

    def call(*arguments):
        status = cli.main([str(argument) for argument in arguments])
        captured = capsys.readouterr()
        lines = captured.err.splitlines()
        assert status == 2, captured.err
        assert len(lines) == 1, captured.err
        assert lines[0].startswith("lopt: error: ")
        return lines[0]

    return call
