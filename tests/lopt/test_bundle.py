"""Bundles on disk: round trips, and clear errors for every kind of damage."""

import hashlib
import json
import math
import os

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.numpy import load_file, save

import lopt
from lopt import bundle_config, bundle_files
from lopt.card import complete, render
from lopt.card_limits import limits

CARD = {
    "title": "Small rule",
    "description": "For tests.",
    "horizon": 25,
    "license": "CC-BY-4.0",
    "meta_training": {"tasks": [{"label": "bowl", "dim": 3}], "meta_steps": 10},
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


def edit(path, change, *, right_checksum=True):
    config = json.loads((path / "config.json").read_text())
    change(config)
    if right_checksum:
        config["config_sha256"] = bundle_config.checksum(config)
    (path / "config.json").write_text(json.dumps(config))


def put_weights(path, content):
    """Other weights, with their right checksum."""
    (path / "theta.safetensors").write_bytes(content)
    digest = hashlib.sha256(content).hexdigest()
    edit(path, lambda c: c.update(theta_sha256=digest))


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
    digest = hashlib.sha256((saved / "theta.safetensors").read_bytes()).hexdigest()
    assert config["theta_sha256"] == digest
    assert config["optimizer"]["name"] == "adafac_mlp"
    assert config["theta"]["mlp/w0"] == {"shape": [39, 4], "dtype": "float32"}
    assert config["horizon"] == 25
    assert config["optimizer"]["feature_version"] == 1
    assert config["config_sha256"] == bundle_config.checksum(config)


def test_model_card(saved, tmp_path):
    text = (saved / "README.md").read_text()
    for part in ("# Small rule", "For tests.", "25 inner steps", "bowl", r"mnist \| raw"):
        assert part in text
    assert text.startswith("---\nlicense: cc-by-4.0\n")
    assert text.rindex("## Limits") > text.index("## License")
    lopt.save(tmp_path / "plain", *make())
    plain = (tmp_path / "plain" / "README.md").read_text()
    assert "mlp" in plain
    assert "1762" in plain
    assert "license: apache-2.0" in plain


def test_limits_follow_from_the_card():
    def row(task, optimizer, loss, **more):
        return {"task": task, "optimizer": optimizer, "mean_loss": loss, **more}

    rows = [row("a", "learned", 0.1), row("a", "adam", 0.2), row("a", "lion", 0.3)]
    rows += [row("a", "learned", 0.4, axis="width x4"), row("a", "adam", 0.3, axis="width x4")]
    text = "\n".join(limits({"horizon": 30, "evaluation": rows}))
    assert "more than 30 steps" in text
    assert "In 1 of 2 settings" in text
    assert "lower mean loss: a (width x4)." in text
    assert "No task of the evaluation was held out" in text
    assert "diverged" not in text
    rows += [row("b", "learned", None, held_out=True), row("b", "adam", 0.3, held_out=True)]
    text = "\n".join(limits({"evaluation": rows}))
    assert "In 2 of 3 settings" in text
    assert "It diverged in b." in text
    assert "held out" not in text
    assert "not been compared" in "\n".join(limits({"evaluation": rows[:1]}))


@pytest.mark.parametrize("license_", ["", "Apache 2.0\n", "no,license", 3])
def test_licence_that_is_none(tmp_path, license_):
    with pytest.raises(ValueError, match="SPDX"):
        lopt.save(tmp_path / "b", *make(), card={"license": license_})


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


def test_version_1_is_read(saved):
    def to_version_1(config):
        for key in ("config_sha256", "lopt_version"):
            del config[key]
        del config["optimizer"]["feature_version"]
        config["format_version"] = 1

    new = lopt.load_bundle(saved)
    edit(saved, to_version_1, right_checksum=False)
    old = lopt.load_bundle(saved)
    assert old.optimizer == new.optimizer
    assert_equal(old.theta, new.theta)


def test_numpy_in_the_card(tmp_path):
    card = {"a": np.float32(0.5), "b": np.arange(2), "c": jnp.float32(math.nan), "d": (1, None)}
    lopt.save(tmp_path / "b", *make(), card=card)
    read = lopt.load_bundle(tmp_path / "b").card
    assert read == {"a": 0.5, "b": [0, 1], "c": None, "d": [1, None], "license": "Apache-2.0"}
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
    wide = lopt.AdafacMLPLopt(hidden=(1,) * 200)
    with pytest.raises(ValueError, match="202 values"):
        lopt.save(tmp_path / "b", wide, wide.init(jax.random.key(0)))
    assert not list(tmp_path.iterdir())


def test_unregistered_optimizer(tmp_path):
    class Mine(lopt.MLPLopt):
        pass

    rule = Mine()
    with pytest.raises(ValueError, match="Mine is not registered"):
        lopt.save(tmp_path / "b", rule, rule.init(jax.random.key(0)))


@pytest.mark.parametrize("name", ["theta.safetensors", "config.json"])
class TestFile:
    """What takes the place of a file."""

    def test_nothing(self, saved, name):
        (saved / name).unlink()
        with pytest.raises(ValueError, match=f"{name} is missing"):
            lopt.load(saved)

    def test_folder(self, saved, name):
        (saved / name).unlink()
        (saved / name).mkdir()
        with pytest.raises(ValueError, match=f"{name} is missing or no regular file"):
            lopt.load(saved)

    def test_pipe(self, saved, name):
        (saved / name).unlink()
        os.mkfifo(saved / name)
        with pytest.raises(ValueError, match=f"{name} is missing or no regular file"):
            lopt.load(saved)

    def test_links(self, saved, name, tmp_path):
        (saved / name).rename(tmp_path / "elsewhere")
        for target in (tmp_path / "elsewhere", "/dev/zero", "../elsewhere"):
            (saved / name).symlink_to(target)
            with pytest.raises(ValueError, match=f"{name} is a link that leaves the folder"):
                lopt.load(saved)
            (saved / name).unlink()
        (saved / name).symlink_to(name)
        with pytest.raises(ValueError, match=name):
            lopt.load(saved)
        (saved / name).unlink()
        (tmp_path / "elsewhere").rename(saved / "inside")
        (saved / name).symlink_to("inside")
        lopt.load(saved)

    def test_too_large(self, saved, name):
        with open(saved / name, "r+b") as file:
            file.truncate(2**40)  # a sparse file
        with pytest.raises(ValueError, match=rf"{name} has 1,099,511,627,776 bytes; the limit"):
            lopt.load(saved)

    def test_unreadable(self, saved, name):
        if os.geteuid() == 0:
            pytest.skip("root reads everything")
        (saved / name).chmod(0)
        with pytest.raises(ValueError, match=f"{name} cannot be read"):
            lopt.load(saved)


def test_not_a_folder(tmp_path, saved):
    for path in (tmp_path / "nowhere", saved / "config.json", "/dev/zero"):
        with pytest.raises(ValueError, match="not a bundle"):
            lopt.load(path)


def test_other_files_are_not_looked_at(saved):
    (saved / "__init__.py").write_text("raise SystemExit")
    (saved / "theta.pkl").write_bytes(b"cos\nsystem\n(S'true'\ntR.")
    os.mkfifo(saved / "pipe")
    lopt.load(saved)


DEEP = b'{"format": ' + b"[" * 10**6 + b"]" * 10**6 + b"}"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (DEEP, "more than 32 levels"),
        (b'{"format": ' + b"[" * 40 + b"]" * 40 + b"}", "more than 32 levels"),
        (b'{"format": "lopt-bundle", "format": 1}', "'format' stands more than once"),
        (b'{"format": NaN}', "'NaN' is not finite"),
        (b'{"format": 1e999}', "'1e999' is not finite"),
        (b'{"format": ' + b"9" * 10**5 + b"}", "damaged"),
        (b"[]", "not a mapping"),
        (b"\xff\xfe", "damaged"),
        (b"", "damaged"),
    ],
)
def test_strange_json(saved, content, message):
    (saved / "config.json").write_bytes(content)
    with pytest.raises(ValueError, match=message) as error:
        lopt.load(saved)
    assert len(str(error.value)) < 1000
    assert "\n" not in str(error.value)


def test_config_without_a_right_checksum(saved):
    edit(saved, lambda c: c["optimizer"]["fields"].update(step_mult=1.0), right_checksum=False)
    with pytest.raises(ValueError, match="config_sha256"):
        lopt.load(saved)


def fields(**changed):
    return lambda config: config["optimizer"]["fields"].update(**changed)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda c: c.update(format="other"), "not a bundle"),
        (lambda c: c.update(format_version=3), "format version 3.*1 to 2"),
        (lambda c: c.update(format_version=True), "format version True"),
        (lambda c: c["optimizer"].update(name="mpl"), "'mpl' that is not registered.*mlp"),
        (lambda c: c["optimizer"].update(name=["mlp"]), "not registered"),
        (
            lambda c: c["optimizer"].update(feature_version=2),
            "version 2 of the features of 'adafac",
        ),
        (fields(depth=3), "depth"),
        (lambda c: c["optimizer"]["fields"].pop("hidden"), "hidden"),
        (fields(hidden=[4, 5]), "mlp/w1|mlp/b1"),
        (fields(hidden=4), "wrong fields.*hidden = 4"),
        (fields(hidden=[-4]), "positive integer"),
        (fields(hidden=[4.0, 4]), "hidden"),
        (fields(hidden=[True, 4]), "hidden"),
        (fields(hidden=[10**9]), "whole numbers up to 1,000,000"),
        (fields(hidden=[10**6] * 3), "would have .* numbers; the limit is 67,108,864"),
        (fields(hidden=[1] * 10**4), "10,002 values.*the limit is 100"),
        (fields(step_mult="1"), "step_mult = '1'"),
        (fields(step_mult=10**400), "step_mult"),
        (fields(step_mult=None), "step_mult"),
        (lambda c: c["optimizer"].pop("fields"), "fields are missing"),
        (lambda c: c.update(theta={}), "lists other arrays"),
        (lambda c: c.update(theta_sha256="0"), "SHA-256"),
        (lambda c: c.pop("theta_sha256"), "theta_sha256"),
        (lambda c: c.update(card=3), "card"),
        (lambda c: c["card"].update(horizon=24), "card has another horizon"),
        (lambda c: c.update(horizon=-1), "horizon"),
    ],
)
def test_damaged_config(saved, change, message):
    edit(saved, change)
    with pytest.raises(ValueError, match=message) as error:
        lopt.load(saved)
    assert len(str(error.value)) < 1000


def change_array(name, change):
    def changed(arrays):
        return {**arrays, name: change(arrays[name])}

    return changed


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (change_array("mlp/w0", lambda x: x[:-1]), r"mlp/w0.*\[38, 4\].*\[39, 4\]"),
        (change_array("mlp/w0", lambda x: x.astype(np.float64)), "float64"),
        (change_array("mlp/w0", lambda x: np.where(x == x.max(), np.inf, x)), "1 numbers that"),
        (lambda arrays: {**arrays, "more": np.zeros(2, np.float32)}, "'more' is .*absent"),
        (lambda arrays: {f"{i}": np.zeros(1, np.float32) for i in range(5000)}, "5,000 arrays"),
        (lambda arrays: {"x" * 2**21: np.zeros(1, np.float32)}, "between 1 and 1,048,576"),
    ],
)
def test_foreign_weights_with_a_right_checksum(saved, change, message):
    put_weights(saved, save(change(load_file(saved / "theta.safetensors"))))
    with pytest.raises(ValueError, match=message):
        lopt.load(saved)


@pytest.mark.parametrize(
    "content",
    [
        b"cos\nsystem\n(S'true'\ntR.",
        b"",
        b"\xff" * 8,
        b"\x02" + b"\0" * 7 + b"[]",
        (2**20).to_bytes(8, "little") + b"[" * 2**20,
    ],
)
def test_not_safetensors_with_a_right_checksum(saved, content):
    put_weights(saved, content)
    with pytest.raises(ValueError, match=r"theta\.safetensors"):
        lopt.load(saved)


@settings(max_examples=40, deadline=None)
@given(
    card=st.dictionaries(
        st.text(max_size=8).filter(lambda key: key not in ("horizon", "license")),
        st.recursive(
            st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
            lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner),
            max_leaves=6,
        ),
        max_size=4,
    )
    | st.fixed_dictionaries({"evaluation": st.lists(st.dictionaries(
        st.sampled_from(["task", "axis", "optimizer", "mean_loss", "diverged"]),
        st.none() | st.just("learned") | st.floats() | st.lists(st.integers(), max_size=1),
    ), max_size=4)})
)  # fmt: skip
def test_any_plain_card_survives(card):
    plain = complete(card)
    assert json.loads(json.dumps(plain)) == plain
    assert complete(plain) == plain
    assert plain.keys() == card.keys() | {"license"}
    text = render({"name": "mlp", "fields": {}, "feature_version": 1}, 3, plain)
    assert "## Evaluation" in text
    assert "## Limits\n\n- " in text
