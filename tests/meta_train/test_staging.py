"""Files that grow in a work folder outlast the machine, whatever storage the folder is on."""

import contextlib
import os
import sqlite3

import pytest

from meta_train.run.staging import Staging


@pytest.fixture(params=["disk", "bucket"])
def place(request, tmp_path):
    """A work folder, and where its files can be looked at."""
    if request.param == "disk":
        return str(tmp_path), tmp_path
    address, files = request.getfixturevalue("bucket")
    name = request.node.originalname
    return f"{address}/{name}", files / name


def test_what_grows_is_kept_and_found_again(place):
    given, seen = place
    staging = Staging(given, ["log", "events"])
    (staging.folder / "events").mkdir(parents=True)
    for name in ("log", "events/a", "events/b"):
        (staging.folder / name).write_text("1")
    staging.persist()
    with (staging.folder / "log").open("a") as file:
        file.write("2")
    (staging.folder / "events" / "b").unlink()
    staging.persist()
    staging.close()
    assert (seen / "log").read_text() == "12"
    assert [path.name for path in (seen / "events").iterdir()] == ["a"]
    again = Staging(given, ["log", "events"])
    assert (again.folder / "log").read_text() == "12"
    assert (again.folder / "events" / "a").read_text() == "1"
    again.close()


def test_other_files_are_neither_fetched_nor_removed(bucket):
    address, files = bucket
    whole = Staging(f"{address}/others")
    whole.folder.mkdir(parents=True)
    for name in ("log", "log.old", "config.json"):
        (whole.folder / name).write_text("1")
    whole.persist()
    part = Staging(f"{address}/others", ["log"])
    assert [path.name for path in part.folder.iterdir()] == ["log"]
    (part.folder / "log").unlink()
    part.persist()
    for staging in (whole, part):
        staging.close()
    assert sorted(path.name for path in (files / "others").iterdir()) == ["config.json", "log.old"]


def test_of_a_database_that_is_written_to_what_is_committed_is_kept(bucket):
    address, files = bucket
    staging = Staging(f"{address}/database")
    staging.folder.mkdir(parents=True)
    with contextlib.closing(sqlite3.connect(staging.folder / "runs.db")) as writer:
        writer.execute("create table numbers (value)")
        writer.execute("insert into numbers values (1)")
        writer.commit()
        writer.execute("insert into numbers values (2)")  # its journal lies beside it
        assert len(os.listdir(staging.folder)) == 2
        staging.persist()
    staging.close()
    assert os.listdir(files / "database") == ["runs.db"]
    with contextlib.closing(sqlite3.connect(files / "database" / "runs.db")) as reader:
        assert reader.execute("select value from numbers").fetchall() == [(1,)]


def test_what_cannot_be_kept_is_an_os_error_and_tried_again(place, monkeypatch):
    given, seen = place
    staging = Staging(given, ["log"])
    staging.folder.mkdir(parents=True, exist_ok=True)
    (staging.folder / "log").write_text("1")

    def fail(name):
        raise ValueError("no network")

    with monkeypatch.context() as patch:
        patch.setattr(staging, "_keep", fail)
        with pytest.raises(OSError, match="no network"):
            staging.persist()
    staging.persist()
    assert (seen / "log").read_text() == "1"
    staging.close()
