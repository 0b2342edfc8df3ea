"""Bundles that come with the package: found by name, whole, and of use."""

import json
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import lopt
from lopt import bundle_files, shipped

NAMES = shipped.names()
STEPS = 30


def save_other(folder):
    rule = lopt.LOPTS["sgd_schedule"]()
    lopt.save(folder, rule, rule.init(jax.random.key(0)), card={"horizon": 7})


def strings(entry):
    if isinstance(entry, dict | list):
        below = entry.values() if isinstance(entry, dict) else entry
        return [text for x in below for text in strings(x)]
    return [entry] if isinstance(entry, str) else []


def test_one_is_there():
    assert "general" in NAMES


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16])
def test_it_descends(name, dtype):
    inputs = jax.random.normal(jax.random.key(0), (64, 8))
    targets = jnp.sin(inputs.sum(axis=1, keepdims=True))
    keys = jax.random.split(jax.random.key(1))
    params = {
        "w0": jax.random.normal(keys[0], (8, 16), dtype) / 3,
        "b0": jnp.zeros(16, dtype),
        "w1": jax.random.normal(keys[1], (16, 1), dtype) / 4,
    }
    tx = lopt.load(name, num_steps=STEPS)

    def loss_of(params):
        w0, b0, w1 = (params[key].astype(jnp.float32) for key in ("w0", "b0", "w1"))
        return jnp.mean(jnp.square(jnp.tanh(inputs @ w0 + b0[None]) @ w1 - targets))

    @jax.jit
    def train(params):
        def body(_, carry):
            params, state = carry
            loss, grads = jax.value_and_grad(loss_of)(params)
            updates, state = tx.update(grads, state, params, value=loss)
            return optax.apply_updates(params, updates), state

        return jax.lax.fori_loop(0, STEPS, body, (params, tx.init(params)))

    trained, state = train(params)
    average = lopt.evaluation_params(state, trained)
    assert jax.tree.map(lambda x: x.dtype, average) == jax.tree.map(lambda x: x.dtype, params)
    assert float(loss_of(average)) < 0.5 * float(loss_of(params))


@pytest.mark.parametrize("name", NAMES)
def test_its_files_hold_no_path_of_a_machine(name):
    folder = shipped.FOLDER / name
    assert {file.name for file in folder.iterdir()} == {
        bundle_files.CONFIG,
        bundle_files.README,
        bundle_files.WEIGHTS,
    }
    texts = strings(json.loads((folder / bundle_files.CONFIG).read_bytes()))
    assert [x for x in texts if x.startswith(("/", "~")) or ":\\" in x or "=/" in x] == []


def test_a_folder_of_that_name(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "general").mkdir()  # of something else
    assert shipped.find("general") == shipped.FOLDER / "general"
    for explicit in ("./general", Path("general"), str(tmp_path / "general")):
        with pytest.raises(ValueError, match="not a bundle"):
            lopt.load(explicit, num_steps=5)
    (tmp_path / "general").rmdir()
    shipped_one = lopt.load_bundle("general")
    save_other(tmp_path / "general")
    for path in ("general", "./general", Path("general")):
        assert lopt.load_bundle(path).card["horizon"] == 7
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    again = lopt.load_bundle("general")
    jax.tree.map(np.testing.assert_array_equal, again.theta, shipped_one.theta)


@pytest.mark.parametrize("name", ["genral", "", "runs/nowhere", "./general", "GENERAL", "..x"])
def test_neither_a_folder_nor_a_name(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ValueError, match=r"does not exist.* those are general") as raised:
        lopt.load(name, num_steps=5)
    assert repr(name) in str(raised.value)
    assert len(str(raised.value).splitlines()) == 1
