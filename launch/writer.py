"""TensorBoard event files without TensorFlow."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

import numpy as np


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

    Args:
        folder: receives the event files.
    """

    def __init__(self, folder: Path) -> None:
        from tensorboardX import SummaryWriter

        # The number keeps apart the files of two processes that start within one second.
        suffix = f".{len(list(folder.glob('*')))}"
        self._writer = SummaryWriter(str(folder), filename_suffix=suffix)

    def write_scalars(self, step: int, scalars: Mapping[str, Any]) -> None:
        """Write numbers by name."""
        for name, value in scalars.items():
            self._writer.add_scalar(name, float(np.asarray(value)), step)

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
            add = self._writer.add_images if pixels.ndim == 4 else self._writer.add_image
            add(name, pixels, step, dataformats="NHWC" if pixels.ndim == 4 else "HWC")

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
            self._writer.add_text(name, text, step)

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
            self._writer.add_histogram(name, values, step, bins=edges.tolist())

    def write_hparams(self, hparams: Mapping[str, Any]) -> None:
        """Write hyperparameters by name, as a table in Markdown."""
        rows = "\n".join(f"| {name} | {value} |" for name, value in hparams.items())
        self._writer.add_text("hparams", f"| name | value |\n|---|---|\n{rows}", 0)

    def flush(self) -> None:
        """Write out what is held back."""
        self._writer.flush()

    def close(self) -> None:
        """Flush and close."""
        self._writer.close()
