"""The same run on one device and on several, and what is refused."""

import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import jax
import numpy as np
import optax
import pytest

from meta_train import PES, MetaTrainer
from meta_train.parallel import Devices
from tests.meta_train.linear_system import SYSTEM

PROGRAM = Path(__file__).parent / "devices_program.py"
NAMES = ("pes", "nres", "truncated_bptt")
FEW = ("pes", "truncated_bptt")
ROOT = Path(__file__).resolve().parents[2]


def start_program(layouts, devices=8, names=NAMES):
    """A process that computes results by estimator and layout."""
    environment = {
        **os.environ,
        "PYTHONPATH": str(ROOT),
        "JAX_PLATFORMS": "cpu",
        "XLA_FLAGS": f"{os.environ['XLA_FLAGS']} --xla_force_host_platform_device_count={devices}",
    }
    return subprocess.Popen(
        [sys.executable, str(PROGRAM), "50", layouts, *names],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def results_of(process):
    output, error = process.communicate(timeout=600)
    assert process.returncode == 0, error
    return json.loads(output.rpartition("RESULTS")[2])


@pytest.fixture(scope="module")
def results():
    return results_of(start_program("few", names=FEW))


def results_of_two_processes(names):
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    processes = [start_program(f"processes:{port}:{i}", 4, names) for i in range(2)]
    return [results_of(process) for process in processes]


def assert_theta_is_the_same(results, num_layouts, names):
    for name in names:
        layouts = results[name]
        assert len(layouts) == num_layouts
        for layout, result in layouts.items():
            assert_close(result["theta"], layouts["shard_map 1"]["theta"], layout)


def assert_close(found, expected, message=""):
    np.testing.assert_allclose(found, expected, rtol=1e-5, err_msg=message)


def test_theta_is_the_same_on_several_devices(results):
    assert_theta_is_the_same(results, 3, FEW)


@pytest.mark.slow
def test_two_processes_of_four_devices_get_the_same(results):
    for of_process in results_of_two_processes(FEW):
        for name in FEW:
            found, expected = of_process[name]["shard_map 8"], results[name]["shard_map 1"]
            assert_close(found["theta"], expected["theta"])
            np.testing.assert_allclose(found["grad_norm"], expected["grad_norm"], rtol=1e-4)
        found = of_process["evaluation"]["shard_map 8"]
        expected = results["evaluation"]["shard_map 1"]
        assert_close(found["meta_valid_loss"], expected["meta_valid_loss"])


@pytest.mark.slow
def test_theta_is_the_same_on_any_number_of_devices():
    assert_theta_is_the_same(results_of(start_program("all")), 7, NAMES)


@pytest.mark.parametrize("name", ["pes", "truncated_bptt"])
def test_the_gradient_keeps_its_scale(results, name):
    """Adam hides a gradient that is eight times too large; its norm does not."""
    norms = [result["grad_norm"] for result in results[name].values()]
    np.testing.assert_allclose(norms, norms[0], rtol=1e-4)


def test_evaluation_is_the_same_on_any_number_of_devices(results):
    one = results["evaluation"]["shard_map 1"]
    for several in results["evaluation"].values():
        np.testing.assert_allclose(several["meta_valid_loss"], one["meta_valid_loss"], rtol=1e-5)


def test_devices_that_are_not_there_are_refused():
    with pytest.raises(ValueError, match=rf"only {jax.device_count()} of platform cpu"):
        Devices(jax.device_count() + 1)
    with pytest.raises(ValueError, match="must be one of shard_map, pmap"):
        Devices(1, "pjit")


def test_groups_that_cannot_be_split_are_refused():
    class Three(Devices):
        def __post_init__(self):
            """As on a machine with three devices."""

    with pytest.raises(ValueError, match="cannot be split evenly over 3 devices"):
        MetaTrainer([SYSTEM], PES(6, 2), optax.sgd(1.0), devices=Three(3))


@pytest.mark.parametrize(("size", "count"), [(8, 8), (12, 6), (7, 7), (9, 3), (11, 1), (1, 1)])
def test_fitting_takes_the_largest_number_that_divides(size, count):
    class Eight(Devices):
        def __post_init__(self):
            """As on a machine with eight devices."""

    assert Eight(8).fitting(size).count == count
