"""A run that is stopped on some devices and resumes on others."""

import json
import re
import subprocess
import sys

import numpy as np
import pytest

from tests.launch.test_resume import arrays, environment

TINY = (
    "--config=base",
    "--config.tasks={'quadratic': {'dim': 3}}",
    "--config.estimator.horizon=7",
    "--config.estimator.truncation_length=3",
    "--config.optimizer.name=sgd_schedule",
    "--config.meta_optimizer.schedule.name=constant",
    "--config.meta_optimizer.schedule.warmup_fraction=0.0",
    "--config.meta_validation.every_steps=0",
    "--config.comparison.num_seeds=0",
    "--config.checkpoint.every_steps=0",
    "--config.steps_per_dispatch=10",
)


PROGRAM = """
import json, sys
from launch import cli
for arguments in json.loads(sys.argv[1]):
    assert cli.main(["meta-train", *arguments]) == 0
"""


def meta_train(runs):
    """Runs of (folder, meta-steps, devices), one after the other in a process with 8 devices."""
    commands = [
        [
            *TINY, f"--workdir={folder}", f"--config.meta_steps={meta_steps}",
            f"--config.devices.count={devices}",
        ]
        for folder, meta_steps, devices in runs
    ]  # fmt: skip
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, json.dumps(commands)],
        env=environment(devices=8),
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.slow
@pytest.mark.parametrize("counts", [(8, 1), (8, 4, 1, 8)])
def test_other_devices_go_on_with_the_same_numbers(counts, tmp_path):
    several = [(tmp_path / "several", 10 * (i + 1), n) for i, n in enumerate(counts)]
    shown = meta_train([(tmp_path / "one", 10 * len(counts), 1), *several])
    assert re.findall(r"on (\d) x cpu", shown) == ["1", *map(str, counts)]
    stops = [str(10 * (i + 1)) for i in range(len(counts) - 1)]
    assert re.findall(r"resuming after meta-step (\d+)", shown) == stops
    expected, found = arrays(tmp_path / "one"), arrays(tmp_path / "several")
    assert list(found) == list(expected)
    for name, array in expected.items():
        np.testing.assert_allclose(found[name], array, rtol=1e-5, atol=1e-6, err_msg=name)
