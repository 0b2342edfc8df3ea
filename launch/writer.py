"""TensorBoard event files without TensorFlow."""

import contextlib
import os
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from tensorboardX import summary
from tensorboardX.event_file_writer import EventsWriter
from tensorboardX.proto.event_pb2 import Event  # pyright: ignore[reportAttributeAccessIssue]

_SECONDS_BETWEEN_FLUSHES = 5.0


class MetricWriter(Protocol):
    """The part of ``clu.metric_writers.MetricWriter`` that a run calls.

    ``EventWriter`` has all of clu's methods; any clu writer fits here too.
    """

    def write_scalars(self, step: int, scalars: Mapping[str, Any]) -> None:
        """Write numbers by name."""

    def write_texts(self, step: int, texts: Mapping[str, str]) -> None:
        """Write texts by name."""

    def write_images(self, step: int, images: Mapping[str, Any]) -> None:
        """Write images of shape [N, H, W, C] or [H, W, C] by name."""

    def write_hparams(self, hparams: Mapping[str, Any]) -> None:
        """Write hyperparameters by name; called once."""

    def flush(self) -> None:
        """Write out what is held back."""

    def close(self) -> None:
        """Flush and close."""


class EventWriter:
    """A writer with the methods of ``clu.metric_writers.MetricWriter`` on tensorboardX.

    Not on its ``SummaryWriter``: a thread of that dies of a full disk, and the next calls then
    wait for it for ever.

    Args:
        folder: receives the event files.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._file: EventsWriter | None = None
        self._size = 0  # bytes of the file that are known to be on disk
        self._waiting: list[Event] = []
        self._flushed = time.monotonic()

    def write_scalars(self, step: int, scalars: Mapping[str, Any]) -> None:
        """Write numbers by name."""
        for name, value in scalars.items():
            self._add(step, summary.scalar(name, float(np.asarray(value))))

    def write_summaries(
        self, step: int, values: Mapping[str, Any], metadata: Mapping[str, Any] | None = None
    ) -> None:
        """Write arrays by name as text; ``metadata`` needs TensorFlow's plugins and is left out."""
        del metadata
        self.write_texts(step, {name: str(np.asarray(value)) for name, value in values.items()})

    def write_images(self, step: int, images: Mapping[str, Any]) -> None:
        """Write images of shape [N, H, W, C] or [H, W, C] by name: uint8, or floats in [0, 1]."""
        for name, image in images.items():
            pixels = np.asarray(image)
            layout = "NHWC" if pixels.ndim == 4 else "HWC"
            rescale = 1 if pixels.dtype == np.uint8 else 255
            self._add(step, summary.image(name, pixels, rescale=rescale, dataformats=layout))

    def write_videos(self, step: int, videos: Mapping[str, Any]) -> None:
        """Write the frames of videos of shape [N, T, H, W, C] or [T, H, W, C] as images."""
        for name, video in videos.items():
            frames = np.asarray(video)
            self.write_images(step, {name: frames.reshape(-1, *frames.shape[-3:])})

    def write_audios(self, step: int, audios: Mapping[str, Any], *, sample_rate: int) -> None:
        """Audio is not written: nothing here makes sound, and the format needs another package."""

    def write_texts(self, step: int, texts: Mapping[str, str]) -> None:
        """Write texts by name."""
        for name, text in texts.items():
            self._add(step, summary.text(name, text))

    def write_histograms(
        self,
        step: int,
        arrays: Mapping[str, Any],
        num_buckets: Mapping[str, int] | None = None,
    ) -> None:
        """Write histograms of arrays by name, with 30 buckets where ``num_buckets`` has none."""
        for name, array in arrays.items():
            values = np.asarray(array, np.float64).ravel()
            buckets = (num_buckets or {}).get(name, 30)
            edges = np.histogram_bin_edges(values, bins=buckets)
            self._add(step, summary.histogram(name, values, edges.tolist()))

    def write_hparams(self, hparams: Mapping[str, Any]) -> None:
        """Write hyperparameters by name, as a table in Markdown."""
        rows = "\n".join(f"| {name} | {value} |" for name, value in hparams.items())
        self.write_texts(0, {"hparams": f"| name | value |\n|---|---|\n{rows}"})

    def flush(self) -> None:
        """Write out what is held back.

        Raises:
            OSError: it cannot be written; it is held back, and goes into a new file when it can.
        """
        self._flushed = time.monotonic()
        if not self._waiting:
            return
        try:
            if self._file is None:
                self._file = self._open()
            for event in self._waiting:
                self._file.write_event(event)
            self._file.flush()
        except OSError:
            self._abandon()
            raise
        self._waiting.clear()
        self._size = os.path.getsize(self._file._file_name)

    def close(self) -> None:
        """Flush and close; what cannot be written is lost."""
        with contextlib.suppress(OSError):
            self.flush()
        if self._file is not None:
            self._file.close()
            self._file = None

    def _add(self, step: int, content: Any) -> None:
        self._waiting.append(Event(wall_time=time.time(), step=step, summary=content))
        if time.monotonic() - self._flushed > _SECONDS_BETWEEN_FLUSHES:
            self.flush()

    def _open(self) -> EventsWriter:
        self._folder.mkdir(parents=True, exist_ok=True)
        # The number keeps apart files that are begun within one second.
        suffix = f".{len(list(self._folder.glob('*')))}"
        self._size = 0
        return EventsWriter(str(self._folder / "events"), suffix)

    def _abandon(self) -> None:
        """Close a file that could not be written, and cut off what is there of its last records."""
        file, self._file = self._file, None
        if file is None:
            return
        with contextlib.suppress(OSError):
            file.close()
        with contextlib.suppress(OSError):
            os.truncate(file._file_name, self._size)
