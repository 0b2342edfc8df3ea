"""Results on disk are found by their very key, or not at all."""

import json

import flax.struct
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import tasks
from meta_train.evaluation import Store, identity
from meta_train.evaluation import result_store as store

KEY = {"kind": "tuned", "task": "abc", "optimizer": {"optax": "adam", "fixed": {"b1": 0.9}}}
VALUE = {"best": [0.1], "at_edge": False}
ARRAYS = {"train_loss": np.arange(6, dtype=np.float32).reshape(2, 3)}


@pytest.fixture
def filled(tmp_path):
    """A store with one result of each form, in one folder."""
    made = Store([tmp_path])
    made.save_json(KEY, VALUE)
    made.save_arrays(KEY, ARRAYS)
    return made


def test_what_was_saved_is_found(filled):
    assert filled.load_json(KEY) == VALUE
    np.testing.assert_array_equal(filled.load_arrays(KEY)["train_loss"], ARRAYS["train_loss"])
    reordered = dict(reversed(KEY.items()))
    assert filled.load_json(reordered) == VALUE


@pytest.mark.parametrize(
    "change",
    [{"task": "abd"}, {"kind": "curves"}, {"optimizer": {"optax": "adam", "fixed": {"b1": 0.8}}},
     {"more": None}],
)  # fmt: skip
def test_another_key_finds_nothing(filled, change):
    assert filled.load_json({**KEY, **change}) is None
    assert filled.load_arrays({**KEY, **change}) is None


def test_a_collision_of_digests_finds_nothing(filled, monkeypatch):
    monkeypatch.setattr(store, "digest", lambda key: identity.digest(KEY))
    assert filled.load_json({**KEY, "task": "abd"}) is None
    assert filled.load_arrays({**KEY, "task": "abd"}) is None
    assert filled.load_json(KEY) == VALUE


@pytest.mark.parametrize("damage", [b"", b"{", b"[]", b'{"key": 3}', b"PK\x03\x04rubbish"])
def test_a_damaged_file_counts_as_missing(filled, tmp_path, damage):
    for file in tmp_path.iterdir():
        file.write_bytes(damage)
    assert filled.load_json(KEY) is None
    assert filled.load_arrays(KEY) is None


def test_all_folders_are_written_and_any_is_read(tmp_path):
    Store([tmp_path / "a", tmp_path / "b"]).save_json(KEY, VALUE)
    for name in "ab":
        assert Store([tmp_path / name]).load_json(KEY) == VALUE
    assert Store([tmp_path / "c", tmp_path / "b"]).load_json(KEY) == VALUE
    assert Store([]).load_json(KEY) is None


def test_shipped_results_need_the_very_key(tmp_path):
    (tmp_path / "some-jax0.12.json").write_text(json.dumps([{"key": KEY, "value": VALUE}]))
    shipped = Store([], shipped=tmp_path)
    assert shipped.load_shipped(KEY) == VALUE
    assert shipped.load_shipped({**KEY, "task": "abd"}) is None
    assert Store([tmp_path]).load_shipped(KEY) is None


def test_results_of_baselines_alone_are_shared(tmp_path):
    own, shared = tmp_path / "own", tmp_path / "shared"
    both = Store([own], shared=[shared])
    both.of("learned").save_json(KEY, VALUE)
    assert own.exists()
    assert not shared.exists()
    both.of("baseline").save_json(KEY, VALUE)
    assert Store([shared]).load_json(KEY) == VALUE


def test_a_failed_write_leaves_what_was_there(tmp_path, monkeypatch):
    path = tmp_path / "file"
    store.write_atomically(path, b"old")
    monkeypatch.setattr(store.os, "fsync", lambda _: (_ for _ in ()).throw(OSError("disk full")))
    with pytest.raises(OSError, match="disk full"):
        store.write_atomically(path, b"new")
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


@flax.struct.dataclass
class Line(tasks.Task):
    """A task whose program and data can be changed one at a time."""

    data: jax.Array
    power: int = flax.struct.field(pytree_node=False, default=2)

    def init(self, key, cfg):
        return jax.random.normal(key, ())

    def loss(self, key, cfg, params, batch):
        return jnp.sum((params - batch) ** self.power), {}

    def batch(self, key, cfg, split):
        return self.data if split == "train" else self.data + 1


def test_fingerprint_changes_with_program_and_data_and_nothing_else():
    first = identity.fingerprint(Line(jnp.ones(2)))
    assert identity.fingerprint(Line(jnp.ones(2))) == first
    assert identity.fingerprint(Line(jnp.zeros(2))) != first
    assert identity.fingerprint(Line(jnp.ones(2), power=4)) != first


def test_fingerprint_tells_tasks_apart():
    prints = [
        identity.fingerprint(tasks.make(name, **fields))
        for name, fields in [
            ("quadratic", {"dim": 3}),
            ("quadratic", {"dim": 3, "seed": 1}),
            ("digits_mlp", {"hidden": (4,)}),
            ("digits_mlp", {"hidden": (4,), "activation": "tanh"}),
            ("digits_mlp", {"hidden": (4,), "data_seed": 1}),
        ]
    ]
    assert len(set(prints)) == len(prints)


def test_versions_of_tuning_have_two_numbers():
    assert all(version.count(".") == 1 for version in identity.tuning_versions().values())
