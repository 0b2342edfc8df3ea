"""Steps in a bucket: the same promises as on a disk."""

import os
import shutil

import jax.numpy as jnp
import numpy as np
import pytest

from checkpoints import DamagedError, Store
from tests.checkpoints.test_store import (
    METADATA,
    assert_same,
    files_of,
    flip,
    make_tree,
    shapes_of,
    truncate,
)


@pytest.fixture
def remote(bucket, request):
    """A store in a bucket, and the folder in which the server keeps its objects."""
    address, files = bucket
    return Store(f"{address}/{request.node.name}/checkpoints"), files / request.node.name


def test_what_is_written_is_read_the_newest_and_the_best_are_kept(remote):
    store, folder = remote
    for number, score in {1: 0.5, 2: 0.2, 3: None, 4: 0.9}.items():
        store.write(number, make_tree(number), METADATA, score)
    assert store.numbers() == [2, 3, 4]
    assert not files_of(folder / "checkpoints" / "1")
    assert store.verify(2).metadata == METADATA
    assert_same(store.restore(2, shapes_of(make_tree())), make_tree(2))
    store.write(4, make_tree(5), {})
    assert_same(store.restore(4, shapes_of(make_tree())), make_tree(5))


def test_without_its_manifest_a_step_is_none_and_goes(remote):
    store, folder = remote
    for number in (1, 2):
        store.write(number, {"x": jnp.ones(3)}, {})
    (folder / "checkpoints" / "2" / "manifest.json").unlink()
    assert store.numbers() == [1]
    store.write(3, {"x": jnp.ones(3)}, {})
    assert store.numbers() == [1, 3]
    assert not files_of(folder / "checkpoints" / "2")


def test_what_must_last_first_is_done_before_the_step_counts(remote):
    store, _ = remote
    store.write(1, {"x": jnp.zeros(3)}, {})
    seen = []
    store.start(2, {"x": jnp.ones(3)}, {}, before=lambda: seen.append(store.numbers()))()
    assert seen == [[1]]

    def fail():
        raise OSError(28, "No space left on device")

    for number in (2, 3):  # 2 is replaced: its manifest has gone first
        with pytest.raises(OSError, match="No space"):
            store.start(number, {"x": jnp.zeros(3)}, {}, before=fail)()
        assert store.numbers() == [1]
    np.testing.assert_array_equal(store.load(1)["x"], np.zeros(3))


def test_damage_is_found_and_named(remote):
    store, folder = remote
    store.write(1, make_tree(), METADATA)
    names = files_of(folder / "checkpoints" / "1")
    assert len(names) >= 8
    for path in names:
        whole = folder.with_name("whole")
        shutil.copy2(path, whole)
        damage = (flip, truncate, os.unlink)[names.index(path) % 3 if whole.stat().st_size else 0]
        damage(path)
        with pytest.raises(DamagedError) as caught:
            store.restore(1, shapes_of(make_tree()))
        assert path.name in str(caught.value)
        path.parent.mkdir(exist_ok=True)
        shutil.copy2(whole, path)
    assert_same(store.restore(1, shapes_of(make_tree())), make_tree())
