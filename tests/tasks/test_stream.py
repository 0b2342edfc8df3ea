"""Data sets in files, and windows of those that are larger than a limit."""

import dataclasses

import jax
import numpy as np
import pytest

import tasks
from tasks.datasets.stream import Stream, windows

COUNT, SIDE = 500, 4


def images_of(count):
    """Different images, each of which tells its number by its first two pixels."""
    images = np.random.default_rng(0).integers(0, 256, (count, SIDE, SIDE), dtype=np.uint8)
    images[:, 0, 0], images[:, 0, 1] = np.arange(count) // 256, np.arange(count) % 256
    return images


def numbers(images):
    return np.asarray(images)[:, 0].astype(int) * 256 + np.asarray(images)[:, 1]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("images")
    np.save(folder / "images.npy", images_of(COUNT))
    np.save(folder / "labels.npy", np.arange(COUNT) % 7)
    return folder


@pytest.fixture(scope="module")
def stored(folder):
    return tasks.read_folder(folder)


@pytest.fixture(scope="module")
def loaded(stored):
    """The same in memory."""
    return dataclasses.replace(stored, images=np.asarray(stored.images))


def test_a_folder_holds_a_data_set(stored):
    assert (stored.num_train, stored.num_valid, len(stored.images)) == (400, 50, COUNT)
    assert (stored.shape, stored.num_classes, stored.labels.dtype) == ((4, 4, 1), 7, np.uint8)
    of_file = images_of(COUNT).reshape(COUNT, -1)
    read = np.asarray(stored.images)
    found = numbers(read)
    assert sorted(found) == list(range(COUNT))
    assert len(np.unique(found[:50] // 50)) > 5  # shuffled
    np.testing.assert_array_equal(read, of_file[found])
    np.testing.assert_array_equal(stored.labels, found % 7)
    normalised = np.asarray(stored.normalise(read[:400]))
    np.testing.assert_allclose([normalised.mean(), normalised.std()], [0, 1], atol=1e-5)


def test_colours_and_many_classes(tmp_path):
    images = np.random.default_rng(0).integers(0, 256, (40, 3, 2, 3), dtype=np.uint8)
    np.save(tmp_path / "images.npy", images)
    np.save(tmp_path / "labels.npy", np.arange(40, dtype=np.int32) * 25)
    data = tasks.load(str(tmp_path))
    assert (data.shape, data.num_classes, data.labels.dtype) == ((3, 2, 3), 976, np.uint16)
    of_file = images.reshape(40, -1)[data.labels // 25]
    np.testing.assert_array_equal(data.images[5:9], of_file[5:9])
    labels = data.draw(jax.random.key(0), "train", 30)[1]
    assert labels.max() > 255
    assert not (labels % 25).any()


@pytest.mark.parametrize(("seed", "size"), [(0, None), (3, None), (0, 2), (3, 3)])
def test_files_are_dealt_and_shrunk_as_arrays_are(seed, size, stored, loaded):
    found, expected = (data.reshuffle(seed).resize(size) for data in (stored, loaded))
    assert found.shape == expected.shape
    for name in ("images", "labels", "scale", "offset"):
        np.testing.assert_array_equal(getattr(found, name), getattr(expected, name))
    np.testing.assert_array_equal(found.images[3:9], expected.images[3:9])
    assert found.images.nbytes == expected.images.nbytes


@pytest.mark.parametrize("seed", [(), (0, 5)])
@pytest.mark.parametrize("number", [0, 4])
def test_a_window_of_all_examples_draws_what_all_of_them_do(number, seed, stored, loaded):
    images, labels = Stream(stored, stored.num_train).window(number, seed)
    windowed = dataclasses.replace(stored, images=images, labels=labels)
    for split in tasks.SPLITS:
        found = windowed.draw(jax.random.key(1), split, 64)
        expected = loaded.draw(jax.random.key(1), split, 64)
        jax.tree.map(np.testing.assert_array_equal, found, expected)


def coverage(of_number, size, count):
    """How often each example is in ``count`` windows, all of which have the same size."""
    found = [numbers(of_number(n)[0])[:size] for n in range(count)]
    return np.bincount(np.concatenate(found), minlength=COUNT)


@pytest.mark.parametrize("size", [40, 50, 130, 400])
def test_every_example_is_in_as_many_windows(size, stored):
    stream = Stream(stored, size)
    train = np.isin(np.arange(COUNT), numbers(stored.images[:400]))
    epochs = size // np.gcd(size, 400)
    times = coverage(lambda n: stream.window(n, (0, 1)), size, epochs * 400 // size)
    np.testing.assert_array_equal(times, epochs * train)
    some = coverage(lambda n: stream.window(n, (0, 1)), size, -(-400 // size))
    assert some[train].min() >= 1  # one pass is enough
    constant = coverage(lambda n: stream.window(0, (0, 1)), size, -(-400 // size))
    assert size == 400 or constant[train].min() == 0


def test_a_window_is_random_and_a_function_of_seed_and_number(stored, loaded):
    stream = Stream(stored, 100)
    first, again = stream.window(7, (0, 1)), Stream(loaded, 100).window(7, [0, 1])
    jax.tree.map(np.testing.assert_array_equal, first, again)
    for number, seed in ((7, (0, 2)), (7, ()), (8, (0, 1)), (11, (0, 1))):
        shared = np.intersect1d(numbers(stream.window(number, seed)[0][:100]), numbers(first[0]))
        assert len(shared) < 50, (number, seed)
    np.testing.assert_array_equal(first[0][100:], loaded.images[400:])  # valid and test
    np.testing.assert_array_equal(first[1][100:], loaded.labels[400:])


def make(folder, limit=None, free=None, name="digits_mlp", **fields):
    with tasks.data_limit(limit, free):
        return tasks.make(name, dataset=str(folder), batch_size=8, **fields)


def test_data_above_the_limit_stream(folder, stored):
    whole, streamed = make(folder).data, make(folder, 0.0083).data
    assert (whole.num_train, whole.stream) == (400, None)
    assert streamed.num_train == 8300 // (4 * 17) - 100 == 22
    assert 4 * (streamed.images.nbytes + streamed.labels.nbytes) <= 8300
    np.testing.assert_array_equal(streamed.images[:22], streamed.stream.window(0, ())[0][:22])
    assert make(folder, 0.0085).data.stream is None
    with tasks.data_limit(0.0083):
        assert make(folder, None).data.stream is None  # the inner one counts
    assert tasks.make("digits_mlp").data.stream is None


def test_windows_are_exchanged_without_another_compilation(folder):
    task = make(folder, 0.0083)
    compiled = []

    @jax.jit
    def draw(task, key):
        compiled.append(None)
        return task.batch(key, (), "train")["label"], task.data.images.sum()

    results = [draw(windows(task, number, (3, 4)), jax.random.key(0)) for number in range(3)]
    assert len(compiled) == 1
    assert len({int(total) for _, total in results}) == 3


@pytest.mark.parametrize(
    ("limit", "free", "message"),
    [
        (0.005, None, "too small to stream .* 8 examples each, .* the 100 of .* least 0.01"),
        (-1.0, None, "data_limit_mb must be finite and at least 0"),
        (None, 8000, "takes .* set config.data_limit_mb"),
    ],
)
def test_limits_that_do_not_work_say_what_would(limit, free, message, folder):
    with pytest.raises(ValueError, match=message):
        make(folder, limit, free)
    assert make(folder, 0.0074).data.num_train == 8
    assert make(folder, None, 9000).data.num_train == 400


def test_families_that_give_members_examples_of_their_own_do_not_stream(folder):
    with pytest.raises(ValueError, match="raise config"):
        make(folder, 0.0083, name="digits_conv_family")
    assert make(folder, name="digits_conv_family").task.data.stream is None


@pytest.mark.parametrize(
    ("name", "array", "error", "message"),
    [
        ("images", np.zeros((9, 4, 4), np.float32), tasks.RawDataError, "holds float32"),
        ("images", np.zeros((9, 16), np.uint8), tasks.RawDataError, "must be uint8"),
        ("images", np.zeros((4, 4, 9), np.uint8).T, tasks.RawDataError, "in C order"),
        ("labels", np.zeros(8, int), tasks.RawDataError, r"integers \[9\]"),
        ("labels", np.zeros(9), tasks.RawDataError, "holds float64"),
        ("labels", np.full(9, -1), tasks.RawDataError, "labels from -1 to -1"),
        ("labels", np.full(9, 2**16), tasks.RawDataError, "from 0 to 65535"),
        ("labels", None, tasks.MissingData, "holds images.npy and labels.npy"),
        ("labels", b"no array", tasks.RawDataError, "no readable .npy file"),
    ],
)
def test_folders_that_are_no_data_set(name, array, error, message, tmp_path):
    arrays = {"images": np.zeros((9, 4, 4), np.uint8), "labels": np.zeros(9, int), name: array}
    for key, value in arrays.items():
        if isinstance(value, bytes):
            (tmp_path / f"{key}.npy").write_bytes(value)
        elif value is not None:
            np.save(tmp_path / f"{key}.npy", value)
    with pytest.raises(error, match=message):
        tasks.load(str(tmp_path))


def test_a_file_that_becomes_shorter_is_an_error_and_no_crash(tmp_path):
    np.save(tmp_path / "images.npy", images_of(50))
    np.save(tmp_path / "labels.npy", np.arange(50) % 2)
    data = tasks.read_folder(tmp_path)
    with open(tmp_path / "images.npy", "r+b") as file:
        file.truncate(300)
    with pytest.raises(OSError, match="has become shorter"):
        np.asarray(data.images)
