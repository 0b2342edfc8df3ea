"""Bundles on disk: round trips, and clear errors for every kind of damage."""

import hashlib
import json
import math
import string

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.numpy import load_file, save_file

import lopt
from lopt import bundle
from lopt.card import render, to_json

CARD = {
    "title": "Small rule",
    "description": "For tests.",
    "horizon": 25,
    "meta_training": {"task": "quadratic", "meta_steps": 10},
    "evaluation": [{"task": "digits", "loss": 0.5}, {"task": "mnist | raw", "accuracy": 0.9}],
}


def make(name="mlp"):
    rule = lopt.LOPTS[name]()
    return rule, rule.init(jax.random.key(3))


@pytest.fixture
def saved(tmp_path):
    path = tmp_path / "bundle"
    lopt.save(path, *make("adafac_mlp"), card=CARD)
    return path


def edit(path, change):
    config = json.loads((path / "config.json").read_text())
    change(config)
    (path / "config.json").write_text(json.dumps(config))


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
    digest = hashlib.sha256((saved / "theta.safetensors").read_bytes()).hexdigest()
    assert config["theta_sha256"] == digest
    assert config["optimizer"]["name"] == "adafac_mlp"
    assert config["theta"]["mlp/w0"] == {"shape": [39, 4], "dtype": "float32"}
    assert config["horizon"] == 25


def test_model_card(saved, tmp_path):
    text = (saved / "README.md").read_text()
    for part in ("# Small rule", "For tests.", "25 inner steps", "quadratic", r"mnist \| raw"):
        assert part in text
    lopt.save(tmp_path / "plain", *make())
    plain = (tmp_path / "plain" / "README.md").read_text()
    assert "mlp" in plain
    assert "1762" in plain


def test_fields_are_kept(tmp_path):
    rule = lopt.MLPLopt(hidden=(3, 7), step_mult=0.1)
    lopt.save(tmp_path / "b", rule, rule.init(jax.random.key(0)))
    assert lopt.load_bundle(tmp_path / "b").optimizer == rule


def test_horizon_is_the_default_for_num_steps(tmp_path):
    rule = lopt.SGDSchedule(schedule="linear")
    theta = rule.init(jax.random.key(0))
    lopt.save(tmp_path / "with", rule, theta, card={"horizon": 7})
    lopt.load(tmp_path / "with")
    lopt.save(tmp_path / "without", rule, theta)
    with pytest.raises(ValueError, match="num_steps"):
        lopt.load(tmp_path / "without")
    lopt.load(tmp_path / "without", num_steps=5)


def test_numpy_in_the_card(tmp_path):
    card = {"a": np.float32(0.5), "b": np.arange(2), "c": jnp.float32(math.nan), "d": (1, None)}
    lopt.save(tmp_path / "b", *make(), card=card)
    read = lopt.load_bundle(tmp_path / "b").card
    assert read == {"a": 0.5, "b": [0, 1], "c": None, "d": [1, None]}
    with pytest.raises(ValueError, match=r"card\['x'\] is a set"):
        lopt.save(tmp_path / "c", *make(), card={"x": {1}})
    assert not (tmp_path / "c").exists()


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


def test_failed_save_leaves_the_old_bundle(saved, monkeypatch):
    def full(_):
        raise OSError("no space left")

    monkeypatch.setattr(bundle.os, "fsync", full)
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


def test_unregistered_optimizer(tmp_path):
    class Mine(lopt.MLPLopt):
        pass

    rule = Mine()
    with pytest.raises(ValueError, match="Mine is not registered"):
        lopt.save(tmp_path / "b", rule, rule.init(jax.random.key(0)))


@pytest.mark.parametrize("name", ["theta.safetensors", "config.json"])
def test_missing_file(saved, name):
    (saved / name).unlink()
    with pytest.raises(ValueError, match=name):
        lopt.load(saved)


def test_not_a_folder(tmp_path):
    with pytest.raises(ValueError, match="not a bundle"):
        lopt.load(tmp_path / "nowhere")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda c: c.update(format="other"), "not a bundle"),
        (lambda c: c.update(format_version=2), "format version 2"),
        (lambda c: c["optimizer"].update(name="mpl"), "'mpl' that is not registered.*mlp"),
        (lambda c: c["optimizer"].update(name=["mlp"]), "not registered"),
        (lambda c: c["optimizer"]["fields"].update(depth=3), "depth"),
        (lambda c: c["optimizer"]["fields"].pop("hidden"), "hidden"),
        (lambda c: c["optimizer"]["fields"].update(hidden=[4, 5]), "mlp/w1|mlp/b1"),
        (lambda c: c["optimizer"]["fields"].update(hidden=4), "wrong fields"),
        (lambda c: c["optimizer"]["fields"].update(hidden=[-4]), "positive integer"),
        (lambda c: c["optimizer"].pop("fields"), "fields are missing"),
        (lambda c: c.update(theta={}), "lists other arrays"),
        (lambda c: c.update(theta_sha256="0"), "SHA-256"),
        (lambda c: c.pop("theta_sha256"), "theta_sha256"),
        (lambda c: c.update(card=3), "card"),
        (lambda c: c["card"].update(horizon="long"), "horizon"),
    ],
)
def test_damaged_config(saved, change, message):
    edit(saved, change)
    with pytest.raises(ValueError, match=message):
        lopt.load(saved)


def test_wrong_shape_with_a_right_checksum(saved):
    arrays = load_file(saved / "theta.safetensors")
    arrays["mlp/w0"] = arrays["mlp/w0"][:-1]
    save_file(arrays, saved / "theta.safetensors")
    digest = hashlib.sha256((saved / "theta.safetensors").read_bytes()).hexdigest()
    edit(saved, lambda c: c.update(theta_sha256=digest))
    with pytest.raises(ValueError, match=r"mlp/w0.*\[38, 4\].*\[39, 4\]"):
        lopt.load(saved)


def test_not_safetensors_with_a_right_checksum(saved):
    (saved / "theta.safetensors").write_bytes(b"cos\nsystem\n(S'true'\ntR.")
    digest = hashlib.sha256((saved / "theta.safetensors").read_bytes()).hexdigest()
    edit(saved, lambda c: c.update(theta_sha256=digest))
    with pytest.raises(ValueError, match="not a safetensors file"):
        lopt.load(saved)


once = settings(
    max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


@once
@given(data=st.data())
def test_one_flipped_bit_in_the_weights(saved, data):
    weights = saved / "theta.safetensors"
    content = bytearray(weights.read_bytes())
    bit = data.draw(st.integers(0, 8 * len(content) - 1))
    content[bit // 8] ^= 1 << bit % 8
    weights.write_bytes(content)
    with pytest.raises(ValueError, match="damaged"):
        lopt.load(saved)
    content[bit // 8] ^= 1 << bit % 8
    weights.write_bytes(content)


@once
@given(content=st.binary(max_size=60) | st.text(string.printable).map(str.encode))
def test_any_foreign_config(saved, content):
    (saved / "config.json").write_bytes(content)
    with pytest.raises(ValueError, match=r"bundle|damaged"):
        lopt.load(saved)


@once
@given(
    card=st.dictionaries(
        st.text(max_size=8).filter(lambda key: key != "horizon"),
        st.recursive(
            st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
            lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner),
            max_leaves=6,
        ),
        max_size=4,
    )
)
def test_any_plain_card_survives(card):
    plain = to_json(card)
    assert json.loads(json.dumps(plain)) == plain
    assert to_json(plain) == plain
    assert plain.keys() == card.keys()
    assert "## Evaluation" in render("mlp", {}, 3, plain)
