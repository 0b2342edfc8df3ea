"""From raw files through TFDS records to arrays; and every way in which that can fail."""

import functools
import http.server
import json
import os
import shutil
import socket
import subprocess
import sys
import tarfile
import threading
import time

import numpy as np
import pytest

import tasks
from tasks.datasets import preparation, store
from tasks.datasets.specs import SPECS


def assert_same(first, second):
    for name in ("images", "labels", "scale", "offset"):
        np.testing.assert_array_equal(getattr(first, name), getattr(second, name))
    assert first.bounds("valid") == second.bounds("valid")


def copy_of(data_dir, tmp_path, name="mnist"):
    shutil.copytree(data_dir / name, tmp_path / "tfds" / name)
    return tmp_path / "tfds"


def test_plain_tfds_reads_what_was_prepared(data_dir, raw):
    import tensorflow_datasets as tfds

    for name, shape in (
        ("mnist", (28, 28, 1)),
        ("fashion_mnist", (28, 28, 1)),
        ("cifar10", (32, 32, 3)),
    ):
        source = tfds.data_source(
            name,
            data_dir=data_dir,
            split="train",
            download=False,
            decoders={"image": tfds.decode.SkipDecoding()},
        )
        assert len(source) == raw.num_train
        source = tfds.data_source(name, data_dir=data_dir, split="test", download=False)
        assert len(source) == raw.num_test
        assert isinstance(source[0]["image"], np.ndarray | bytes)
        assert source.dataset_info.features["image"].shape == shape
        assert 0 <= source[0]["label"] < 10


def test_records_hold_the_raw_pixels(data_dir):
    folder = data_dir.parent / "raw" / "mnist"
    from tasks.datasets.idx import read_idx

    images = read_idx(folder / "train-images-idx3-ubyte", 3)
    labels = read_idx(folder / "train-labels-idx1-ubyte", 1)
    expected = sorted((i.tobytes(), int(n)) for i, n in zip(images, labels, strict=True))
    data = tasks.load("mnist", data_dir)
    stop = data.bounds("valid")[1]
    found = sorted(
        (i.tobytes(), int(n)) for i, n in zip(data.images[:stop], data.labels[:stop], strict=True)
    )
    assert found == expected
    assert data.bounds("valid") == (270, 300)


@pytest.mark.parametrize("name", ["mnist", "cifar10"])
def test_cache_equals_the_records(name, data_dir, tmp_path):
    cached = tasks.load(name, data_dir)
    folder = copy_of(data_dir, tmp_path, name) / name / SPECS[name].version
    (folder / "lopt-cache.npz").unlink()
    assert_same(store._read_records(folder), cached)


def test_cifar_formats_agree(data_dir, tmp_path, raw):
    sheets = raw.cifar_sheets(tmp_path / "sheets")
    tasks.prepare("cifar10", tmp_path / "a", sheets)
    binary = raw.cifar_binary(tmp_path / "cifar-10-batches-bin")
    with tarfile.open(tmp_path / "cifar-10-binary.tar.gz", "w:gz") as archive:
        archive.add(binary, "cifar-10-batches-bin")
    tasks.prepare("cifar10", tmp_path / "b", tmp_path / "cifar-10-binary.tar.gz")
    for folder in ("a", "b"):
        assert_same(tasks.load("cifar10", tmp_path / folder), tasks.load("cifar10", data_dir))


def test_second_start_is_fast_and_imports_neither_tfds_nor_sklearn(data_dir):
    code = (
        "import sys, time, tasks\n"
        "tasks.make('digits_mlp')\n"
        "start = time.perf_counter()\n"
        f"data = tasks.load('mnist', {os.fspath(data_dir)!r})\n"
        "assert time.perf_counter() - start < 1\n"
        "assert len(data.images) == 360\n"
        "slow = {'tensorflow_datasets', 'tensorflow', 'sklearn', 'PIL'}\n"
        "assert not slow & set(sys.modules)\n"
    )
    done = subprocess.run([sys.executable, "-W", "error", "-c", code], capture_output=True)
    assert done.returncode == 0, done.stderr.decode()
    assert done.stdout == done.stderr == b""


def test_preparing_and_reading_say_nothing(tmp_path, raw):
    source = raw.idx_folder(tmp_path / "raw")
    code = (
        "import tasks\n"
        f"path = tasks.prepare('mnist', {os.fspath(tmp_path / 'tfds')!r}, {os.fspath(source)!r})\n"
        "(path / 'lopt-cache.npz').unlink()\n"
        f"tasks.load('mnist', {os.fspath(tmp_path / 'tfds')!r})\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True)
    assert done.returncode == 0, done.stderr.decode()
    assert done.stdout == done.stderr == b""


def test_prepare_twice_returns_at_once(data_dir):
    start = time.perf_counter()
    folder = tasks.prepare("mnist", data_dir, "/does/not/matter")
    assert time.perf_counter() - start < 1
    assert folder == data_dir / "mnist" / "3.0.1"


def test_stale_or_damaged_cache_is_rebuilt(data_dir, tmp_path):
    expected = tasks.load("mnist", data_dir)
    base = copy_of(data_dir, tmp_path)
    cache = base / "mnist" / "3.0.1" / "lopt-cache.npz"
    whole = cache.read_bytes()
    middle = len(whole) // 2
    flipped = whole[:middle] + bytes([whole[middle] ^ 1]) + whole[middle + 1 :]
    for damage in (whole[: len(whole) // 2], b"", b"no zip", flipped):
        cache.write_bytes(damage)
        assert_same(tasks.load("mnist", base), expected)
        assert cache.stat().st_size > 200_000
        before = cache.stat().st_mtime_ns
        tasks.load("mnist", base)
        assert cache.stat().st_mtime_ns == before
    info = base / "mnist" / "3.0.1" / "dataset_info.json"
    os.utime(info, ns=(1, 1))
    tasks.load("mnist", base)
    assert cache.stat().st_mtime_ns != before


def test_read_only_data_folder_uses_the_users_cache_or_none(data_dir, tmp_path, monkeypatch):
    base = copy_of(data_dir, tmp_path)
    cache = base / "mnist" / "3.0.1" / "lopt-cache.npz"
    cache.unlink()
    cache.mkdir()  # nothing can be written there, even by root
    monkeypatch.setenv("XDG_CACHE_HOME", os.fspath(tmp_path / "cache"))
    expected = tasks.load("mnist", data_dir)
    assert_same(tasks.load("mnist", base), expected)
    assert len(list((tmp_path / "cache" / "lopt").glob("mnist-*.npz"))) == 1
    monkeypatch.setattr(store, "_read_records", None)  # from the cache alone
    assert_same(tasks.load("mnist", base), expected)
    monkeypatch.undo()
    (tmp_path / "file").touch()
    monkeypatch.setenv("XDG_CACHE_HOME", os.fspath(tmp_path / "file"))
    assert_same(tasks.load("mnist", base), expected)
    assert not list(cache.parent.glob(".lopt-cache*"))


def test_missing_data_says_what_to_run(tmp_path):
    start = time.perf_counter()
    with pytest.raises(tasks.MissingData, match="lopt data prepare mnist") as caught:
        tasks.make("mnist_mlp", data_dir=tmp_path)
    assert time.perf_counter() - start < 5
    assert f"--from_dir=DIR --data_dir={tmp_path}" in str(caught.value)
    assert isinstance(caught.value, FileNotFoundError)


def test_default_data_dir_is_the_one_of_tfds(tmp_path, monkeypatch):
    monkeypatch.setenv("TFDS_DATA_DIR", os.fspath(tmp_path / "here"))
    with pytest.raises(tasks.MissingData, match=r"here/cifar10/3\.0\.2"):
        tasks.load("cifar10")
    monkeypatch.delenv("TFDS_DATA_DIR")
    monkeypatch.setenv("HOME", os.fspath(tmp_path))
    with pytest.raises(tasks.MissingData, match="tensorflow_datasets/cifar10"):
        tasks.load("cifar10")


def test_other_file_format_is_explained(data_dir, tmp_path):
    base = copy_of(data_dir, tmp_path)
    path = base / "mnist" / "3.0.1" / "dataset_info.json"
    info = json.loads(path.read_text())
    path.write_text(json.dumps({**info, "fileFormat": "tfrecord"}))
    with pytest.raises(tasks.MissingData, match="tfrecord"):
        tasks.load("mnist", base)
    with pytest.raises(FileExistsError, match="remove it"):
        tasks.prepare("mnist", base, tmp_path)
    assert {row.name: row.state for row in tasks.list_datasets(base)}["mnist"] == "missing"


def test_list_datasets(data_dir, tmp_path):
    rows = {row.name: row for row in tasks.list_datasets(data_dir)}
    assert rows["digits"].state == "embedded"
    assert (rows["mnist"].state, rows["mnist"].num_examples) == ("ready", 360)
    assert rows["cifar10"].shape == (32, 32, 3)
    assert rows["mnist"].num_bytes > 100_000
    missing = {row.name: row for row in tasks.list_datasets(tmp_path)}["mnist"]
    assert (missing.state, missing.num_bytes) == ("missing", None)
    assert missing.where.startswith(os.fspath(tmp_path))


def test_unknown_names(tmp_path):
    for function in (tasks.load, tasks.prepare):
        with pytest.raises(ValueError, match="fashion_mnist"):
            function("fashion", tmp_path)


@pytest.mark.parametrize(
    ("file", "damage", "message"),
    [
        ("train-images-idx3-ubyte", lambda b: b[:-1], "truncated"),
        ("train-labels-idx1-ubyte", lambda b: b[:-1], "truncated"),
        ("t10k-images-idx3-ubyte", lambda b: b"\0\0\x0d\x03" + b[4:], "starts with"),
        ("t10k-labels-idx1-ubyte", lambda b: b[:-1] + b"\x0a", "label 10"),
        ("train-labels-idx1-ubyte", lambda b: b[:7] + bytes([b[7] - 1]) + b[8:-1], "299 labels"),
    ],
)
def test_damaged_idx_files_are_named_and_leave_nothing(file, damage, message, tmp_path, raw):
    folder = raw.idx_folder(tmp_path / "raw")
    (folder / file).write_bytes(damage((folder / file).read_bytes()))
    with pytest.raises(tasks.RawDataError, match=message) as caught:
        tasks.prepare("mnist", tmp_path / "tfds", folder)
    assert file in str(caught.value)
    assert not (tmp_path / "tfds").exists()


def test_missing_raw_files_are_named(tmp_path, raw):
    with pytest.raises(tasks.RawDataError, match="does not exist"):
        tasks.prepare("mnist", tmp_path / "tfds", tmp_path / "nowhere")
    folder = raw.idx_folder(tmp_path / "raw", ".gz")
    (folder / "t10k-labels-idx1-ubyte.gz").unlink()
    with pytest.raises(tasks.RawDataError, match="holds no t10k-labels-idx1-ubyte"):
        tasks.prepare("mnist", tmp_path / "tfds", folder)


def test_damaged_cifar_files_are_named(tmp_path, raw):
    prepare = functools.partial(tasks.prepare, "cifar10", tmp_path / "tfds")
    binary = raw.cifar_binary(tmp_path / "binary")
    whole = (binary / "data_batch_3.bin").read_bytes()
    for data, message in ((whole[:-1], "truncated"), (b"\x0b" + whole[1:], "label 11")):
        (binary / "data_batch_3.bin").write_bytes(data)
        with pytest.raises(tasks.RawDataError, match=rf"data_batch_3\.bin.*{message}"):
            prepare(binary)
    (binary / "data_batch_3.bin").unlink()
    with pytest.raises(tasks.RawDataError, match=r"no data_batch_3\.bin"):
        prepare(binary)
    with tarfile.open(tmp_path / "some.tar.gz", "w:gz") as archive:
        archive.add(binary, "cifar-10-batches-bin")
    with pytest.raises(tasks.RawDataError, match=r"no data_batch_3\.bin"):
        prepare(tmp_path / "some.tar.gz")
    data = (tmp_path / "some.tar.gz").read_bytes()
    (tmp_path / "some.tar.gz").write_bytes(data[: len(data) // 2])
    with pytest.raises(tasks.RawDataError, match="no readable tar"):
        prepare(tmp_path / "some.tar.gz")
    sheets = raw.cifar_sheets(tmp_path / "sheets")
    (sheets / "test_labels.json").write_text("[1, 2, 10]")
    with pytest.raises(tasks.RawDataError, match=r"test_labels\.json must hold"):
        prepare(sheets)
    (sheets / "test_labels.json").write_text("[1, 2]")
    with pytest.raises(tasks.RawDataError, match=r"60 images but .*test_labels\.json 2 labels"):
        prepare(sheets)
    sheet = (sheets / "data_batch_2.png").read_bytes()
    (sheets / "data_batch_2.png").write_bytes(sheet[: len(sheet) // 2])
    with pytest.raises(tasks.RawDataError, match=r"data_batch_2\.png"):
        prepare(sheets)


def test_pickles_are_never_read(tmp_path):
    (tmp_path / "data_batch_1").write_bytes(b"cos\nsystem\n(S'exit 1'\ntR.")
    with pytest.raises(tasks.RawDataError, match="never read"):
        tasks.prepare("cifar10", tmp_path / "tfds", tmp_path)


def test_interrupted_preparation_does_not_look_complete(tmp_path, raw, monkeypatch):
    source = raw.idx_folder(tmp_path / "raw")
    png, calls = preparation._png, []

    def stop(image):
        calls.append(image)
        if len(calls) > 100:
            raise KeyboardInterrupt
        return png(image)

    monkeypatch.setattr(preparation, "_png", stop)
    with pytest.raises(KeyboardInterrupt):
        tasks.prepare("mnist", tmp_path / "tfds", source)
    with pytest.raises(tasks.MissingData):
        tasks.load("mnist", tmp_path / "tfds")
    monkeypatch.undo()
    tasks.prepare("mnist", tmp_path / "tfds", source)
    assert len(tasks.load("mnist", tmp_path / "tfds").images) == 360


def test_killed_preparation_does_not_look_complete(tmp_path, raw):
    source = raw.idx_folder(tmp_path / "raw")
    code = (
        "import os, tasks\n"
        "from tasks.datasets import preparation\n"
        "png, count = preparation._png, []\n"
        "def stop(image):\n"
        "    count.append(1)\n"
        "    if len(count) > 330: os.kill(os.getpid(), 9)\n"
        "    return png(image)\n"
        "preparation._png = stop\n"
        f"tasks.prepare('mnist', {os.fspath(tmp_path / 'tfds')!r}, {os.fspath(source)!r})\n"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True).returncode == -9
    with pytest.raises(tasks.MissingData):
        tasks.load("mnist", tmp_path / "tfds")
    tasks.prepare("mnist", tmp_path / "tfds", source)
    assert len(tasks.load("mnist", tmp_path / "tfds").images) == 360


def with_urls(monkeypatch, base):
    urls = {role: f"{base}/{role}.gz" for role in SPECS["mnist"].urls}
    monkeypatch.setitem(SPECS, "mnist", SPECS["mnist"]._replace(urls=urls))


def test_download_over_http(tmp_path, raw, monkeypatch):
    source = raw.idx_folder(tmp_path / "raw", ".gz")

    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, format, *args):
            pass

    handler = functools.partial(Quiet, directory=source)
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        with_urls(monkeypatch, f"http://127.0.0.1:{server.server_port}")
        monkeypatch.setenv("no_proxy", "*")
        tasks.prepare("mnist", tmp_path / "tfds")
        server.shutdown()
        thread.join()
    assert len(tasks.load("mnist", tmp_path / "tfds").images) == 360


@pytest.mark.parametrize("silent", [True, False], ids=["silent", "refused"])
def test_dead_network_fails_fast(silent, tmp_path, monkeypatch):
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        assert preparation._PROBE_SECONDS < 5
        if silent:  # accepts connections and never answers
            server.listen()
            monkeypatch.setattr(preparation, "_PROBE_SECONDS", 0.3)
        with_urls(monkeypatch, f"http://127.0.0.1:{server.getsockname()[1]}")
        monkeypatch.setenv("no_proxy", "*")
        start = time.perf_counter()
        with pytest.raises(tasks.MissingData, match="lopt data prepare mnist --from_dir=DIR"):
            tasks.prepare("mnist", tmp_path / "tfds")
        assert time.perf_counter() - start < 5
    assert not (tmp_path / "tfds").exists()
