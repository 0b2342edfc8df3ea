"""examples/sky.yaml: what its commands call, found out by running them in a home of stand-ins."""

import subprocess
import tomllib
from pathlib import Path

import pytest
import yaml

from configs.base import RunConfig
from launch import distributed, options, overrides
from launch.meta_train import Arguments

ROOT = Path(__file__).parents[2]
TASK = yaml.safe_load((ROOT / "examples" / "sky.yaml").read_text())
NODES = {
    "SKYPILOT_NODE_IPS": "10.0.0.7\n10.0.0.8",
    "SKYPILOT_NUM_NODES": "2",
    "SKYPILOT_NODE_RANK": "1",
}


@pytest.fixture
def words_of(tmp_path):
    """The words with which a script calls the program of a name, which does nothing."""

    def called(script, program):
        record = '#!/bin/sh\nprintf "%s\\0" "$@" > "$0.words"\n'
        for name in ("python3", "lopt-env/bin/pip", "lopt-env/bin/lopt"):
            file = tmp_path / name
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(record)
            file.chmod(0o755)
        subprocess.run(
            ["bash", "-c", script],
            env={
                **TASK["envs"],
                **NODES,
                "HOME": str(tmp_path),
                "PATH": f"{tmp_path}:/usr/bin:/bin",
                "WORKDIR": "gs://bucket/a run",
                "FLAGS": "--config.seed=3 --config.meta_steps=5",
            },
            check=True,
        )
        return (tmp_path / f"{program}.words").read_text().split("\0")[:-1]

    return called


def test_every_node_calls_a_command_that_exists(words_of):
    command, *words = words_of(TASK["run"], "lopt-env/bin/lopt")
    assert command == "meta-train"
    config, rest = overrides.resolve(words, RunConfig, "")
    assert (config.seed, config.meta_steps) == (3, 5)
    asked, _ = options.read(Arguments, rest)
    assert asked.workdir == "gs://bucket/a run"
    assert distributed.check(asked) == {
        "coordinator_address": "10.0.0.7:8476",
        "num_processes": 2,
        "process_id": 1,
    }


def test_what_is_installed_exists(words_of):
    what = words_of(TASK["setup"], "lopt-env/bin/pip")[-1]
    package = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = what.removeprefix(".[").removesuffix("]").split(",")
    assert set(extras) <= set(package["optional-dependencies"])


def test_a_work_folder_must_be_named():
    assert TASK["envs"]["WORKDIR"] is None
