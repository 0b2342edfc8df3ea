import ast
import inspect
from pathlib import Path
from unittest import mock

import clu
import numpy as np
import pytest

from meta_train.run.events import EventWriter
from meta_train.run.records import Records
from tests.meta_train.test_run import counting


def clu_methods():
    """Methods of clu's interface and their parameters; its package needs TensorFlow to import."""
    source = Path(clu.__path__[0], "metric_writers", "interface.py").read_text(encoding="utf-8")
    classes = [node for node in ast.parse(source).body if isinstance(node, ast.ClassDef)]
    (interface,) = [node for node in classes if node.name == "MetricWriter"]
    return {
        node.name: [argument.arg for argument in (*node.args.args, *node.args.kwonlyargs)]
        for node in interface.body
        if isinstance(node, ast.FunctionDef)
    }


@pytest.mark.parametrize("name", clu_methods())
def test_has_clus_method_with_its_parameters(name):
    method = getattr(EventWriter, name)
    assert list(inspect.signature(method).parameters) == clu_methods()[name]


def test_what_a_run_calls_is_part_of_clus_interface(tmp_path):
    writer = mock.Mock(spec=list(clu_methods()))
    run, _ = counting(tmp_path, 2, 1, Records(tmp_path, [lambda _: writer], hparams={"seed": 1}))
    run.train()
    run.save()
    run.close()
    called = {call[0] for call in writer.method_calls}
    assert called == {"write_scalars", "write_hparams", "flush", "close"}


def read_events(folder):
    """Tag -> kind of value, over all event files in a folder."""
    from tensorboardX.proto import event_pb2

    tags = {}
    for file in folder.iterdir():
        data, offset = file.read_bytes(), 0
        while offset < len(data):
            length = int.from_bytes(data[offset : offset + 8], "little")
            event = event_pb2.Event.FromString(data[offset + 12 : offset + 12 + length])
            offset += 12 + length + 4
            for value in event.summary.value:
                tags[value.tag] = (event.step, value)
    return tags


def test_writes_every_kind(tmp_path):
    writer = EventWriter(tmp_path)
    writer.write_scalars(3, {"loss": np.float32(0.5)})
    writer.write_texts(3, {"note": "hello"})
    writer.write_images(3, {"one": np.zeros((4, 5, 3), np.uint8), "two": np.zeros((2, 4, 5, 1))})
    writer.write_videos(3, {"film": np.zeros((2, 4, 5, 3), np.uint8)})
    writer.write_audios(3, {"sound": np.zeros((1, 8, 1))}, sample_rate=8)
    writer.write_histograms(3, {"weights": np.arange(10.0)}, num_buckets={"weights": 5})
    writer.write_summaries(3, {"raw": np.arange(3)}, metadata=None)
    writer.write_hparams({"seed": 1, "name": "x"})
    writer.flush()
    writer.close()
    tags = read_events(tmp_path / "events")
    step, loss = tags["loss"]
    assert (step, loss.simple_value) == (3, 0.5)
    assert tags["weights"][1].histo.num == 10
    assert any("seed" in str(value) for _, value in tags.values())
    assert {"loss", "one", "two", "film", "weights"} <= set(tags)
