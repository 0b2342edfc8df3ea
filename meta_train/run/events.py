"""TensorBoard event files without TensorFlow."""

import contextlib
import socket
import struct
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from tensorboardX import summary
from tensorboardX.proto.event_pb2 import Event  # pyright: ignore[reportAttributeAccessIssue]
from tensorboardX.record_writer import masked_crc32c

from meta_train.run.appending import AppendedFile
from meta_train.run.writer import Writer

EVENTS = "events"


class EventWriter(Writer):
    """A writer of tensorboardX's records.

    Not on its ``SummaryWriter``: a thread of that dies of a full disk, and the next calls then
    wait for it for ever. What a full disk does not take is kept here, and written when it does;
    until then the methods raise ``OSError``.

    Args:
        folder: of the run; ``folder``/events receives one more event file.
    """

    def __init__(self, folder: Path) -> None:
        folder = folder / EVENTS
        folder.mkdir(parents=True, exist_ok=True)
        # The number keeps apart files that are begun within one second.
        began = f"{int(time.time())}.{socket.gethostname()}.{len(list(folder.glob('*')))}"
        self._file = AppendedFile(folder / f"events.out.tfevents.{began}")
        with contextlib.suppress(OSError):  # it is kept, as everything is
            self._append(Event(wall_time=time.time(), file_version="brain.Event:2"))

    def write_scalars(self, step: int, scalars: Mapping[str, Any]) -> None:
        self._write(step, *(summary.scalar(k, float(np.asarray(x))) for k, x in scalars.items()))

    def write_images(self, step: int, images: Mapping[str, Any]) -> None:
        for name, image in images.items():
            pixels = np.asarray(image)
            layout = "NHWC" if pixels.ndim == 4 else "HWC"
            rescale = 1 if pixels.dtype == np.uint8 else 255
            self._write(step, summary.image(name, pixels, rescale=rescale, dataformats=layout))

    def write_texts(self, step: int, texts: Mapping[str, str]) -> None:
        self._write(step, *(summary.text(name, text) for name, text in texts.items()))

    def write_histograms(
        self,
        step: int,
        arrays: Mapping[str, Any],
        num_buckets: Mapping[str, int] | None = None,
    ) -> None:
        for name, array in arrays.items():
            values = np.asarray(array, np.float64).ravel()
            buckets = (num_buckets or {}).get(name, 30)
            edges = np.histogram_bin_edges(values, bins=buckets)
            self._write(step, summary.histogram(name, values, edges.tolist()))

    def write_hparams(self, hparams: Mapping[str, Any]) -> None:
        """Write hyperparameters by name, as a table in Markdown."""
        rows = "\n".join(f"| {name} | {value} |" for name, value in hparams.items())
        self.write_texts(0, {"hparams": f"| name | value |\n|---|---|\n{rows}"})

    def flush(self) -> None:
        self._file.flush()

    def close(self) -> None:
        self._file.close()

    def _write(self, step: int, *contents: Any) -> None:
        now = time.time()
        self._append(*(Event(wall_time=now, step=step, summary=content) for content in contents))

    def _append(self, *events: Event) -> None:
        """Write events as records: length and data, each followed by its checksum."""
        record = b""
        for event in events:
            data = event.SerializeToString()
            length = struct.pack("<Q", len(data))
            for part in (length, data):
                record += part + struct.pack("<I", masked_crc32c(part))
        self._file.append(record)
