"""Bundles on disk: what is saved is loaded, with the horizon and the options of its user."""

import hashlib
import json
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from safetensors.numpy import load_file

import lopt
from lopt import bundle_config, bundle_files
from tests.lopt.bundles import CARD, edit, make
from tests.lopt.cases import draw_theta


@pytest.fixture
def saved(tmp_path):
    path = tmp_path / "bundle"
    lopt.save(path, *make("adafac_mlp"), card=CARD)
    return path


def file_sha256(folder):
    return hashlib.sha256((folder / "theta.safetensors").read_bytes()).hexdigest()


def assert_equal(one, two):
    assert jax.tree.structure(one) == jax.tree.structure(two)
    jax.tree.map(np.testing.assert_array_equal, one, two)


@pytest.mark.parametrize("name", list(lopt.LOPTS))
def test_round_trip(tmp_path, name):
    rule, theta = make(name)
    lopt.save(tmp_path / "b", rule, theta, card=CARD)
    loaded = lopt.load_bundle(tmp_path / "b")
    assert loaded.optimizer == rule
    assert type(loaded.optimizer) is type(rule)
    assert loaded.card == CARD
    assert_equal(loaded.theta, theta)


def test_load_binds_theta_and_horizon(tmp_path):
    rule = lopt.SGDSchedule(schedule="linear")
    theta = {name: x + 0.3 for name, x in rule.init(jax.random.key(0)).items()}
    lopt.save(tmp_path / "b", rule, theta, card=CARD)
    params = {"w": jnp.ones((2, 3))}
    tx, original = lopt.load(tmp_path / "b"), rule.bind(theta, CARD["horizon"])
    assert_equal(
        jax.jit(tx.update)(params, tx.init(params), params),
        jax.jit(original.update)(params, original.init(params), params),
    )


def test_files(saved):
    assert sorted(p.name for p in saved.iterdir()) == [
        "README.md",
        "config.json",
        "theta.safetensors",
    ]
    assert "mlp/w0" in load_file(saved / "theta.safetensors")
    config = json.loads((saved / "config.json").read_text())
    assert config["weights_sha256"] == file_sha256(saved)
    leaves = [np.asarray(x, "<f4").tobytes() for x in jax.tree.leaves(make("adafac_mlp")[1])]
    assert config["theta_sha256"] == hashlib.sha256(b"".join(leaves)).hexdigest()
    assert config["optimizer"]["name"] == "adafac_mlp"
    assert config["theta"]["mlp/w0"] == {"shape": [39, 4], "dtype": "float32"}
    assert config["horizon"] == 25
    assert config["optimizer"]["feature_version"] == 1
    assert config["config_sha256"] == bundle_config.checksum(config)


def test_fields_are_kept(tmp_path):
    rule = lopt.MLPLopt(hidden=(3, 7), step_mult=0.1)
    lopt.save(tmp_path / "b", rule, draw_theta(rule))
    assert lopt.load_bundle(tmp_path / "b").optimizer == rule


def test_horizon_is_the_default_for_num_steps(tmp_path):
    rule = lopt.SGDSchedule(schedule="linear")
    theta = draw_theta(rule)
    lopt.save(tmp_path / "with", rule, theta, card={"horizon": 7})
    lopt.load(tmp_path / "with")
    lopt.save(tmp_path / "without", rule, theta)
    with pytest.raises(ValueError, match="num_steps"):
        lopt.load(tmp_path / "without")
    lopt.load(tmp_path / "without", num_steps=5)


def test_load_passes_options_on(tmp_path):
    lopt.save(tmp_path / "b", *make("sgd_schedule"))
    params = {"w": jnp.ones((2, 3)), "b": jnp.ones(3)}
    plain = lopt.load(tmp_path / "b")
    mask = {"w": True, "b": False}
    tx = lopt.load(
        tmp_path / "b", learning_rate_multiplier=0.5, weight_decay=0.1, weight_decay_mask=mask
    )
    step, _ = plain.update(params, plain.init(params), params)
    found, _ = tx.update(params, tx.init(params), params)
    np.testing.assert_allclose(found["b"], 0.5 * step["b"], rtol=1e-6)
    np.testing.assert_allclose(found["w"], 0.5 * (step["w"] - 0.1), rtol=1e-6)
    with pytest.raises(ValueError, match="weight_decay = -1"):
        lopt.load(tmp_path / "b", weight_decay=-1.0)


def test_warning_far_beyond_the_horizon(saved):
    lopt.load(saved, num_steps=75)  # warnings are errors here
    with pytest.warns(lopt.HorizonWarning, match=r"up to 25 steps.*num_steps = 76 is 3\.0 times"):
        lopt.load(saved, num_steps=76)
    with pytest.raises(ValueError, match="num_steps = 0 must be"):
        lopt.load(saved, num_steps=0)


def to_version_2(config):
    config["format_version"] = 2
    config["theta_sha256"] = config.pop("weights_sha256")


def to_version_1(config):
    to_version_2(config)
    for key in ("config_sha256", "lopt_version"):
        del config[key]
    del config["optimizer"]["feature_version"]
    config["format_version"] = 1


@pytest.mark.parametrize("change", [to_version_1, to_version_2])
def test_earlier_versions_are_read_and_verified(saved, change):
    new = lopt.load_bundle(saved)
    edit(saved, change, right_checksum=change is to_version_2)
    old = lopt.load_bundle(saved)
    assert old.optimizer == new.optimizer
    assert_equal(old.theta, new.theta)
    content = (saved / "theta.safetensors").read_bytes()
    (saved / "theta.safetensors").write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    with pytest.raises(ValueError, match=r"theta\.safetensors is damaged: its SHA-256"):
        lopt.load_bundle(saved)


def test_save_replaces_a_bundle_and_nothing_else(saved, tmp_path):
    rule, theta = make("mlp")
    lopt.save(saved, rule, theta)
    assert lopt.load_bundle(saved).optimizer == rule
    (tmp_path / "empty").mkdir()
    lopt.save(tmp_path / "empty", rule, theta)
    foreign = tmp_path / "foreign"
    foreign.mkdir()
    (foreign / "thesis.txt").write_text("years of work")
    (tmp_path / "file").write_text("x")
    for path in (foreign, tmp_path / "file"):
        with pytest.raises(ValueError, match="exists and is not a bundle"):
            lopt.save(path, rule, theta)
    assert (foreign / "thesis.txt").read_text() == "years of work"
    assert sorted(p.name for p in tmp_path.iterdir()) == ["bundle", "empty", "file", "foreign"]
    (saved / "notes.txt").write_text("mine")
    with pytest.raises(ValueError, match=r"also holds notes\.txt"):
        lopt.save(saved, rule, theta)
    lopt.load(saved)


def test_failed_save_leaves_the_old_bundle(saved, monkeypatch):
    def full(_):
        raise OSError("no space left")

    monkeypatch.setattr(bundle_files.os, "fsync", full)
    with pytest.raises(OSError, match="no space"):
        lopt.save(saved, *make("mlp"))
    monkeypatch.undo()
    assert lopt.load_bundle(saved).card == CARD
    assert [p.name for p in saved.parent.iterdir()] == ["bundle"]


def test_theta_must_fit(tmp_path):
    rule, theta = make("mlp")
    with pytest.raises(ValueError, match="'mlp/b0'"):
        lopt.save(tmp_path / "b", lopt.MLPLopt(hidden=(4,)), theta)
    half = jax.tree.map(lambda x: x.astype(jnp.bfloat16), theta)
    with pytest.raises(ValueError, match="bfloat16"):
        lopt.save(tmp_path / "b", rule, half)
    with pytest.raises(ValueError, match="horizon"):
        lopt.save(tmp_path / "b", rule, theta, card={"horizon": -1})
    theta["mlp"]["b1"] = theta["mlp"]["b1"].at[3].set(math.nan)
    with pytest.raises(ValueError, match="'mlp/b1' with 1 numbers that are not finite"):
        lopt.save(tmp_path / "b", rule, theta)


def test_what_could_not_be_loaded_is_not_saved(tmp_path):
    rule, theta = make("adafac_mlp")
    deep = 0
    for _ in range(40):
        deep = [deep]
    with pytest.raises(ValueError, match="32 levels"):
        lopt.save(tmp_path / "b", rule, theta, card={"deep": deep})
    with pytest.raises(ValueError, match=r"bytes; the limit is 4,194,304"):
        lopt.save(tmp_path / "b", rule, theta, card={"notes": "x" * 2**22})
    wide = lopt.AdafacMLPLopt(hidden=(2,) * 200)
    with pytest.raises(ValueError, match="202 values"):
        lopt.save(tmp_path / "b", wide, draw_theta(wide))
    assert not list(tmp_path.iterdir())


def test_unregistered_optimizer(tmp_path):
    class Mine(lopt.MLPLopt):
        pass

    rule = Mine()
    with pytest.raises(ValueError, match="Mine is not registered"):
        lopt.save(tmp_path / "b", rule, draw_theta(rule))
