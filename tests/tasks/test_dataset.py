"""Splits, normalisation, resizing and drawing."""

import jax
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import tasks
from tasks.datasets.splits import permutation


def unique_images(count, shape=(2, 3, 1)):
    images = np.zeros((count, int(np.prod(shape))), np.uint8)
    images[:, 0], images[:, 1] = np.arange(count) // 256, np.arange(count) % 256
    return images.reshape(count, *shape)


@given(
    count=st.integers(3, 300),
    num_test=st.one_of(st.none(), st.integers(1, 40)),
    seed=st.integers(0, 5),
)
@settings(deadline=None, max_examples=40)
def test_splits_are_disjoint_and_complete(count, num_test, seed):
    images = unique_images(count)
    labels = np.arange(count) % 10
    test = None
    if num_test is not None:
        test = (unique_images(count + num_test)[count:], np.arange(num_test) % 10)
    data = tasks.from_arrays(images, labels, 10, test=test).reshuffle(seed)
    parts = [
        {row.tobytes() for row in np.asarray(data.images)[slice(*data.bounds(split))]}
        for split in tasks.SPLITS
    ]
    assert all(parts)
    assert len(set.union(*parts)) == sum(len(part) for part in parts) == count + (num_test or 0)
    if num_test is not None:
        assert parts[2] == {row.tobytes() for row in test[0]}
    ids = data.images[:, 0].astype(int) * 256 + data.images[:, 1]
    expected = np.where(ids < count, ids % 10, (ids - count) % 10) if num_test else ids % 10
    np.testing.assert_array_equal(data.labels, expected)


def test_split_does_not_depend_on_the_order_of_storage():
    images, labels = unique_images(100), np.arange(100) % 10
    order = np.random.default_rng(0).permutation(100)
    first = tasks.from_arrays(images, labels, 10)
    other = tasks.from_arrays(images[order], labels[order], 10)
    np.testing.assert_array_equal(first.images, other.images)
    np.testing.assert_array_equal(first.labels, other.labels)
    assert len(np.unique(first.images[:50, 1] // 10)) > 5  # shuffled, not sorted


def test_permutation_is_frozen():
    assert permutation(8, 0).tolist() == [3, 2, 1, 6, 0, 7, 4, 5]
    assert sorted(permutation(1000, 3)) == list(range(1000))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"images": np.zeros((20, 4, 4), np.float32)}, "uint8"),
        ({"images": np.zeros((20, 16), np.uint8)}, "uint8"),
        ({"labels": np.zeros(19, int)}, "one per image"),
        ({"labels": np.full(20, 10)}, "from 0 to 9, got 10 to 10"),
        ({"labels": np.full(20, -1)}, "from 0 to 9"),
        ({"num_classes": 1}, "num_classes"),
        ({"num_valid": 19}, "cannot be dealt"),
        ({"num_valid": 0}, "cannot be dealt"),
        ({"num_test": 0}, "cannot be dealt"),
        ({"test": (np.zeros((2, 5, 5), np.uint8), np.zeros(2, int))}, "same shape"),
        ({"test": (np.zeros((0, 4, 4), np.uint8), np.zeros(0, int))}, "at least one test"),
    ],
)
def test_bad_arrays_have_clear_errors(change, message):
    good = {"images": np.zeros((20, 4, 4), np.uint8), "labels": np.zeros(20, int)}
    with pytest.raises(ValueError, match=message):
        tasks.from_arrays(**{**good, "num_classes": 10, **change})


def test_normalised_train_split_has_mean_0_and_std_1_per_channel():
    rng = np.random.default_rng(0)
    images = (rng.integers(0, 60, (200, 6, 5, 3)) * np.array([1, 2, 4])).astype(np.uint8)
    data = tasks.from_arrays(images, np.zeros(200, int), 2)
    normalised = data.normalise(data.images[: data.num_train])
    train = np.asarray(normalised, np.float64).reshape(-1, 3)
    np.testing.assert_allclose(train.mean(axis=0), 0, atol=1e-5)
    np.testing.assert_allclose(train.std(axis=0), 1, rtol=1e-5)
    exact = data.images[: data.num_train].reshape(-1, 3).astype(np.float64)
    np.testing.assert_allclose(data.mean, exact.mean(axis=0), rtol=1e-5)
    np.testing.assert_allclose(data.std, exact.std(axis=0), rtol=1e-5)


def test_constant_images_stay_finite():
    data = tasks.from_arrays(np.full((20, 2, 2), 7, np.uint8), np.zeros(20, int), 2)
    np.testing.assert_array_equal(data.normalise(data.images), np.zeros((20, 4)))


def test_resize_averages_blocks():
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (20, 6, 6, 3)).astype(np.uint8)
    data = tasks.from_arrays(images, np.zeros(20, int), 2)
    small = data.resize(3)
    blocks = data.images.reshape(20, 3, 2, 3, 2, 3).astype(float).mean(axis=(2, 4))
    assert small.shape == (3, 3, 3)
    assert np.abs(small.images.reshape(20, 3, 3, 3) - blocks).max() <= 0.5 + 1e-4
    assert data.resize(None) is data
    assert data.resize(6) is data


@given(native=st.integers(2, 9), size=st.integers(1, 9))
@settings(deadline=None, max_examples=30)
def test_resize_keeps_the_average_at_every_ratio(native, size):
    images = np.random.default_rng(native).integers(0, 256, (12, native, native)).astype(np.uint8)
    data = tasks.from_arrays(images, np.zeros(12, int), 2)
    if size > native:
        with pytest.raises(ValueError, match=f"from 1 to {native}"):
            data.resize(size)
        return
    small = data.resize(size).images.astype(float)
    np.testing.assert_allclose(small.mean(axis=1), data.images.mean(axis=1), atol=0.5 + 1e-3)


def test_draw_is_uniform_over_exactly_its_split():
    images = unique_images(40)
    data = tasks.from_arrays(images, np.arange(40) % 10, 10, num_valid=5, num_test=6)
    data = jax.tree.map(jax.numpy.asarray, data)
    for split, size in (("train", 29), ("valid", 5), ("test", 6)):
        drawn, labels = data.draw(jax.random.key(0), split, 6000)
        raw = np.rint((np.asarray(drawn) - data.offset[None]) / data.scale[None]).astype(int)
        np.testing.assert_array_equal(raw[:, 1] % 10, labels)
        counts = np.bincount(raw[:, 1], minlength=40)
        start, stop = data.bounds(split)
        inside = np.asarray(data.images)[start:stop, 1]
        assert counts[inside].sum() == 6000
        # 4.5 standard deviations of a binomial count.
        assert np.abs(counts[inside] - 6000 / size).max() < 4.5 * np.sqrt(6000 / size)
        assert labels.dtype == np.int32


def test_digits_are_the_real_ones():
    from sklearn.datasets import load_digits

    real = load_digits()
    data = tasks.load("digits")
    assert (data.num_train, data.num_valid, len(data.images)) == (1197, 300, 1797)
    expected = {
        (row.astype(np.uint8).tobytes(), int(label))
        for row, label in zip(real.data, real.target, strict=True)
    }
    found = {
        (row.tobytes(), int(label)) for row, label in zip(data.images, data.labels, strict=True)
    }
    assert found == expected
