"""Parameters split over eight devices: what sharding_program.py found in a process of its own."""

import json
import os
import subprocess
import sys
from pathlib import Path

import jax
import numpy as np
import pytest

import lopt
from lopt import blocks, sharding

PROGRAM = Path(__file__).parent / "sharding_program.py"
ROOT = Path(__file__).resolve().parents[2]


def run_program(which):
    # Nothing runs long enough to be worth optimising.
    flags = "--xla_force_host_platform_device_count=8 --xla_backend_optimization_level=0"
    flags = f"{os.environ['XLA_FLAGS']} {flags}"
    finished = subprocess.run(
        [sys.executable, "-W", "error", str(PROGRAM), which],
        env={**os.environ, "PYTHONPATH": str(ROOT), "JAX_PLATFORMS": "cpu", "XLA_FLAGS": flags},
        capture_output=True,
        text=True,
        timeout=900,
        check=False,
    )
    assert finished.returncode == 0, finished.stderr
    return json.loads(finished.stdout.rpartition("RESULTS")[2])


OF_THE_WHOLE = ("celo2", "schedule_free_mlp")
"""Rules that orthogonalise or whiten matrices, which takes all of them on every device."""


@pytest.fixture(scope="module")
def results():
    return run_program("few")


def check_rule(name, facts):
    """All that must hold wherever it was looked at."""
    for where, found in facts.items():
        assert found.get("misplaced", []) == [], where
        assert name in OF_THE_WHOLE or found.get("gathered", []) == [], where
        assert found.get("num_compiled", 0) == 0, where
        assert found.get("error", 0.0) < 1e-5, where
        wrong = [fact for fact, value in found.items() if value is False]
        assert not wrong, f"{where}: {wrong}"


@pytest.mark.parametrize("name", lopt.LOPTS)
def test_state_and_updates_are_split_like_the_parameters(results, name):
    facts = results["rules"][name]
    assert {"abstract", "helper", "explicit types", "auto jit"} <= set(facts)
    check_rule(name, facts)


def test_flattened_parameters_would_be_gathered(results):
    assert results["flattened"]


@pytest.mark.slow
def test_every_rule_under_every_mesh_inside_and_outside_jit():
    rules = run_program("all")["rules"]
    assert set(rules) == set(lopt.LOPTS)
    for name, facts in rules.items():
        assert len(facts) == 7
        assert "error" in facts["auto jit"]
        assert "error" in facts["explicit jit"]
        check_rule(name, facts)


def test_helper_looks_through_wrappers(results):
    found = results["helper_inside_wrappers"]
    assert len(found) == 6
    assert {name: wrong for name, wrong in found.items() if wrong} == {}


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("odd", "params['w'] does not fit shape (3, 7)"),
        ("axes", "params['b'] names 3 axes of shape (24,)"),
        ("tree", "must be a tree like params, or a prefix of it, but has the structure"),
        ("kind", "params['b'] is P('x',), but must be a jax.sharding.NamedSharding"),
        ("meshes", "is of 2 meshes, but the parameters of one optimizer must share one"),
        ("nowhere", "params['b'] is unknown, but must be a jax.sharding.NamedSharding"),
    ],
)
def test_helper_says_what_is_wrong(results, name, message):
    assert message in results["refused"][name]


@pytest.mark.parametrize("count", ["4", "1"])
def test_checkpoint_of_eight_devices_on_fewer(results, count):
    assert results["checkpoint"][count] == {"equal": True, "misplaced": []}


def test_one_device_and_shard_map_are_not_taken_for_several():
    mesh = jax.sharding.Mesh(np.array(jax.devices()[:1]), ("x",))
    found = []

    def look(x):
        found.append(sharding.max_shards(x))
        return x

    jax.eval_shape(look, np.zeros(3))
    spec = jax.sharding.PartitionSpec()
    mapped = jax.shard_map(look, mesh=mesh, in_specs=spec, out_specs=spec, check_vma=False)
    jax.eval_shape(mapped, np.zeros(3))
    assert found == [jax.device_count(), 1]


@pytest.mark.parametrize(
    ("shape", "limit", "shards", "expected"),
    [
        ((), 8, 8, (0, 1)),
        ((32, 8), 256, 8, (0, 1)),
        ((32, 8), 255, 8, (0, 2)),
        ((32, 8), 64, 8, (0, 4)),
        ((32, 8), 1, 8, (0, 4)),  # shares of one row cannot be cut
        ((3, 48), 72, 4, (1, 2)),
        ((10007, 512), 2_000_000, 8, (1, 4)),  # not into 10007 pieces of one row
        ((7, 64), 100, 1, (0, 7)),
    ],
)
def test_choice_of_the_axis_to_cut(shape, limit, shards, expected):
    assert blocks._choose_cut(shape, limit, shards) == expected
