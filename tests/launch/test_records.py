import json
import math
import time

import numpy as np

from launch import records
from launch.progress import ProgressLines

KEYS = ["meta_step", "meta_loss", "grad_norm", "snr", "diverged", "inner_steps_per_s", "seconds"]


class ListWriter:
    """Remembers scalars."""

    def __init__(self):
        self.scalars = []

    def write_scalars(self, step, scalars):
        self.scalars.append((step, dict(scalars)))


def dispatch(losses, diverged=0):
    count = len(losses)
    return {
        "meta_loss": np.array(losses, np.float32),
        "grad_norm": np.ones(count, np.float32),
        "snr": np.full(count, np.nan, np.float32),
        "diverged": np.full(count, diverged, np.int32),
        "inner_steps": np.full(count, 40, np.int32),
    }


def make(tmp_path, meta_steps=6, every_steps=1):
    writer = ListWriter()
    progress = ProgressLines(meta_steps)
    started = time.monotonic()
    return records.Recorder(tmp_path, writer, progress, meta_steps, every_steps, started), writer


def lines(tmp_path):
    text = (tmp_path / "metrics.jsonl").read_text()
    return [json.loads(line) for line in text.splitlines()]


def test_one_dispatch_late(tmp_path):
    recorder, _ = make(tmp_path)
    recorder.push(2, dispatch([1.0, 0.9]))
    assert lines(tmp_path) == []
    recorder.push(4, dispatch([0.8, 0.7]))
    assert [line["meta_step"] for line in lines(tmp_path)] == [1, 2]
    recorder.flush()
    recorder.flush()
    recorder.close()
    assert [line["meta_step"] for line in lines(tmp_path)] == [1, 2, 3, 4]
    np.testing.assert_allclose(
        [line["meta_loss"] for line in lines(tmp_path)], [1.0, 0.9, 0.8, 0.7], rtol=1e-6
    )


def test_record_has_the_agreed_keys_and_is_json(tmp_path):
    recorder, writer = make(tmp_path)
    recorder.push(1, dispatch([math.inf]))
    recorder.flush()
    recorder.close()
    (line,) = lines(tmp_path)
    assert sorted(line) == sorted(KEYS)
    assert line["meta_loss"] is None
    assert line["snr"] is None
    assert line["inner_steps_per_s"] > 0
    assert writer.scalars[0][0] == 1
    assert records.read(tmp_path) == [line]


def test_only_every_so_many_and_the_last(tmp_path):
    recorder, writer = make(tmp_path, meta_steps=7, every_steps=3)
    for step in range(1, 8):
        recorder.push(step, dispatch([1.0]))
    recorder.flush()
    recorder.close()
    assert [line["meta_step"] for line in lines(tmp_path)] == [3, 6, 7]
    assert [step for step, _ in writer.scalars] == [3, 6, 7]


def test_validation_is_told_apart(tmp_path, capsys):
    recorder, writer = make(tmp_path)
    recorder.validation(5, 0.25, best=True)
    recorder.close()
    (line,) = lines(tmp_path)
    assert line["meta_valid_loss"] == 0.25
    assert "meta_loss" not in line
    assert "meta_valid_loss" in writer.scalars[0][1]
    assert "0.2500" in capsys.readouterr().out


def test_diverged_particles_add_up_on_the_progress_line(tmp_path, capsys):
    recorder, _ = make(tmp_path, meta_steps=2)
    recorder.push(1, dispatch([1.0], diverged=2))
    recorder.push(2, dispatch([1.0], diverged=3))
    recorder.flush()
    recorder._progress.close()
    recorder.close()
    shown = capsys.readouterr().out
    assert "diverged 2 " in shown
    assert "diverged 5 " in shown
