"""What is written is read back exactly, or refused with the reason."""

import os
import shutil
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from checkpoints import DamagedError, MismatchError, Saver, Store

METADATA = {"config": {"seed": 1, "rate": 0.1, "none": None, "list": [1, 2]}}


def make_tree(scale=1.0):
    return {
        "theta": {"w": scale * jnp.arange(6.0).reshape(2, 3), "b": jnp.zeros((), jnp.bfloat16)},
        "key": jax.random.key(3),
        "keys": jax.random.split(jax.random.key(4), 2),
        "list": [jnp.arange(i, dtype=jnp.int32) for i in range(12)],  # the first is empty
        "none": None,
        "flag": jnp.array(True),
    }


def shapes_of(tree):
    return jax.eval_shape(lambda: tree)


def assert_same(tree, expected):
    def data(x):
        return np.asarray(jax.random.key_data(x) if jnp.issubdtype(x.dtype, jax.dtypes.prng_key)
                          else x)  # fmt: skip

    assert jax.tree.structure(tree) == jax.tree.structure(expected)
    for a, b in zip(jax.tree.leaves(tree), jax.tree.leaves(expected), strict=True):
        assert a.dtype == b.dtype
        np.testing.assert_array_equal(data(a), data(b))


@pytest.fixture
def store(tmp_path):
    return Store(tmp_path / "checkpoints")


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    """A store with steps 1 and 2, not to be changed."""
    store = Store(tmp_path_factory.mktemp("written"))
    for number in (1, 2):
        store.write(number, make_tree(number), METADATA, score=0.5)
    return store


def test_round_trip(written):
    restored = written.restore(2, shapes_of(make_tree()))
    assert_same(restored, make_tree(2))
    step = written.read(2)
    assert step.metadata == METADATA
    assert step.score == 0.5
    assert step.num_bytes > 0
    assert list(step.arrays)[-1] == "theta/w"


def test_load_keeps_the_order_of_the_tree(written):
    names = [name for name in written.load(2) if name.startswith("list/")]
    assert names == [f"list/{i}" for i in range(12)]


def test_a_part_can_be_restored(written):
    part = shapes_of({"theta": make_tree()["theta"]})
    assert_same(written.restore(1, part), {"theta": make_tree()["theta"]})


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"more": np.zeros(1)}, "no array more"),
        ({"flag": np.zeros(3, bool)}, r"array flag is bool\[\], this run wants bool\[3\]"),
        ({"flag": np.float32(0)}, "this run wants float32"),
    ],
)
def test_other_arrays_are_refused(written, change, message):
    with pytest.raises(MismatchError, match=message):
        written.restore(1, shapes_of({**make_tree(), **change}))


def test_a_step_is_replaced(store):
    store.write(7, make_tree(1), {})
    store.write(7, make_tree(5), {})
    assert store.numbers() == [7]
    assert_same(store.restore(7, shapes_of(make_tree())), make_tree(5))


def test_the_newest_and_the_best_are_kept(store):
    scores = {1: 0.5, 2: 0.2, 3: None, 4: 0.9, 5: None, 6: 0.3}
    for number, score in scores.items():
        store.write(number, {"x": jnp.ones(3)}, {}, score)
    assert store.numbers() == [2, 5, 6]


def test_a_damaged_step_is_not_counted_among_the_newest(store):
    for number in (1, 2, 3, 4):
        if number == 4:
            (store.folder / "3" / "manifest.json").write_text("{}")
        store.write(number, {"x": jnp.ones(3)}, {})
    assert store.numbers() == [2, 3, 4]


def test_what_a_killed_process_left_is_no_step(store):
    store.write(1, {"x": jnp.ones(3)}, {})
    shutil.copytree(store.folder / "1", store.folder / "2")
    (store.folder / "2" / "manifest.json").unlink()
    assert store.numbers() == [1]
    store.write(3, {"x": jnp.ones(3)}, {})
    assert sorted(path.name for path in store.folder.iterdir()) == ["1", "3"]


def files_of(folder) -> list[Path]:
    return sorted(path for path in Path(folder).rglob("*") if path.is_file())


def flip(path: Path) -> None:
    data = bytearray(path.read_bytes()) or bytearray(b"\0")
    data[len(data) // 2] ^= 0xFF
    path.write_bytes(bytes(data))


def truncate(path: Path) -> None:
    os.truncate(path, path.stat().st_size // 2)


def test_every_damage_to_every_file_is_detected(written, tmp_path):
    names = [path.relative_to(written.folder) for path in files_of(written.folder / "2")]
    assert len(names) >= 8
    for name in names:
        for damage in (flip, truncate, os.unlink):
            empty = not os.path.getsize(written.folder / name)
            if empty and damage is truncate:
                continue  # nothing can be cut from an empty file
            copy = Store(tmp_path / "copy")
            shutil.copytree(written.folder, copy.folder)
            damage(Path(copy.folder / name))
            with pytest.raises(DamagedError) as caught:
                copy.restore(2, shapes_of(make_tree()))
            assert name.name in str(caught.value)
            assert_same(copy.restore(1, shapes_of(make_tree())), make_tree(1))
            shutil.rmtree(copy.folder)


def test_an_array_that_differs_from_its_checksum_is_detected(store, monkeypatch):
    """As where memory, not the disk, is at fault: the files agree with their checksums."""
    from checkpoints import arrays

    describe = arrays.describe
    monkeypatch.setattr(arrays, "describe", lambda named: describe({**named, "x": jnp.ones(3)}))
    store.write(1, {"x": jnp.zeros(3)}, {})
    with pytest.raises(DamagedError, match="array x has a wrong checksum"):
        store.restore(1, shapes_of({"x": jnp.zeros(3)}))


@settings(max_examples=1000, deadline=None)
@given(st.data())
def test_no_corrupted_manifest_is_taken_for_whole(written, tmp_path_factory, data):
    path = written.folder / "1" / "manifest.json"
    whole = path.read_bytes()
    start = data.draw(st.integers(0, len(whole)), label="start")
    length = data.draw(st.integers(0, 40), label="length")
    instead = data.draw(st.binary(max_size=40), label="instead")
    corrupted = whole[:start] + instead + whole[start + length :]
    folder = tmp_path_factory.getbasetemp() / "corrupted" / "1"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "manifest.json").write_bytes(corrupted)
    store = Store(folder.parent)
    if corrupted == whole:
        assert store.read(1).metadata == METADATA
        return
    with pytest.raises(DamagedError, match=r"manifest\.json"):
        store.read(1)


@settings(max_examples=1000, deadline=None)
@given(st.data())
def test_no_corrupted_file_is_taken_for_whole(written, tmp_path_factory, data):
    copy = tmp_path_factory.getbasetemp() / "files"
    if not copy.exists():
        shutil.copytree(written.folder, copy)
    name = data.draw(st.sampled_from(files_of(written.folder / "2"))).relative_to(written.folder)
    whole = (written.folder / name).read_bytes()
    position = data.draw(st.integers(0, max(len(whole) - 1, 0)), label="position")
    byte = data.draw(st.binary(max_size=2), label="instead")
    corrupted = whole[:position] + byte + whole[position + 1 :]
    (copy / name).write_bytes(corrupted)
    try:
        if corrupted == whole:
            assert Store(copy).verify(2).metadata == METADATA
            return
        with pytest.raises(DamagedError):
            Store(copy).verify(2)
    finally:
        (copy / name).write_bytes(whole)


def test_saving_in_the_background_copies_first(store):
    told = []
    saver = Saver(store, told.append)
    tree = {"x": jnp.arange(1000.0)}
    double = jax.jit(lambda tree: jax.tree.map(lambda x: 2 * x, tree), donate_argnums=0)
    saver.save(1, tree, {})
    double(tree)  # takes the buffers away
    saver.wait()
    assert saver.saved == 1
    assert told == []
    restored = store.restore(1, shapes_of({"x": jnp.arange(1000.0)}))
    np.testing.assert_array_equal(restored["x"], np.arange(1000.0))
    saver.close()


def test_failure_to_save_is_told_and_what_was_there_stays(store, monkeypatch):
    told = []
    saver = Saver(store, told.append)
    saver.save(1, {"x": jnp.zeros(3)}, {})
    saver.wait()
    assert told == []

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("checkpoints.store._orbax_start", full)
    saver.save(2, {"x": jnp.ones(3)}, {})
    saver.wait()
    assert told == ["step 2 could not be saved (No space left on device)"]
    assert saver.saved == 1
    assert [path.name for path in store.folder.iterdir()] == ["1"]
    saver.close()
