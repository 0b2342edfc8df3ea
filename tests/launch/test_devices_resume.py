"""A run that is stopped on some devices and goes on on others."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np

from checkpoints import Store

ROOT = Path(__file__).resolve().parents[2]
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


def meta_train(folder, meta_steps, devices):
    environment = {
        **os.environ,
        "PYTHONPATH": str(ROOT),
        "JAX_PLATFORMS": "cpu",
        "XLA_FLAGS": "--xla_force_host_platform_device_count=8",
    }
    command = [
        sys.executable, "-m", "launch.cli", "meta-train", *TINY, f"--workdir={folder}",
        f"--config.meta_steps={meta_steps}", f"--config.devices.count={devices}",
    ]  # fmt: skip
    done = subprocess.run(
        command, env=environment, capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def arrays(folder):
    store = Store(folder / "checkpoints")
    return {name: np.asarray(x) for name, x in store.load(store.numbers()[-1]).items()}


def test_other_devices_go_on_with_the_same_numbers(tmp_path):
    layouts = (8, 4, 1, 8)
    meta_train(tmp_path / "one", 10 * len(layouts), 1)
    for i, devices in enumerate(layouts):
        shown = meta_train(tmp_path / "several", 10 * (i + 1), devices)
        assert f"on {devices} x" in shown
        assert ("going on after meta-step" in shown) == (i > 0)
    expected, found = arrays(tmp_path / "one"), arrays(tmp_path / "several")
    assert list(found) == list(expected)
    for name, array in expected.items():
        np.testing.assert_allclose(found[name], array, rtol=1e-5, atol=1e-6, err_msg=name)
