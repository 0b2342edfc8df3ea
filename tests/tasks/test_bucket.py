"""Prepared data sets in a bucket, from which every machine takes its own copy."""

import numpy as np
import pytest

import tasks
from launch import cli
from tasks.datasets import buckets


def test_data_are_prepared_in_a_bucket_and_copied_from_there(
    bucket, raw, data_dir, tmp_path, monkeypatch, capsys
):
    address, files = bucket
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "here"))
    given = f"--data_dir={address}/data"
    with pytest.raises(tasks.MissingData, match=rf"lopt data prepare mnist {given}"):
        tasks.load("mnist", f"{address}/data")
    source = raw.idx_folder(tmp_path / "raw")
    assert cli.main(["data", "prepare", "mnist", f"--from_dir={source}", given]) == 0
    assert f"mnist is ready in {address}/data/mnist/3.0.1" in capsys.readouterr().out
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "elsewhere"))  # as on another machine
    assert cli.main(["data", "list", given]) == 0
    assert f"{address}/data/mnist/3.0.1" in capsys.readouterr().out
    expected = tasks.load("mnist", data_dir)
    for _ in range(2):
        found = tasks.load("mnist", f"{address}/data")
        for name in ("images", "labels"):
            np.testing.assert_array_equal(getattr(found, name), getattr(expected, name))
    monkeypatch.setenv("TFDS_DATA_DIR", f"{address}/data")
    assert len(tasks.load("mnist").images) == len(expected.images)
    kept = files / "data" / "mnist" / "3.0.1"
    assert not any("lopt-cache" in path.name for path in kept.iterdir())
    # What has changed in the bucket is copied again.
    folder = buckets.place(f"{address}/data/mnist/3.0.1")
    (folder / "features.json").write_text("changed")
    assert (buckets.fetch(folder) / "features.json").read_text() == "changed"


def test_other_storage_is_refused(capsys):
    assert cli.main(["data", "list", "--data_dir=s3://bucket/data"]) == 2
    line = capsys.readouterr().err
    assert "s3://bucket/data: of storage in clouds only gs:// can be used" in line
