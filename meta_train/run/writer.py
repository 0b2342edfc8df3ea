"""What writers of a run's numbers have in common, and their names.

The methods are those of ``clu.metric_writers.MetricWriter``, whose package needs TensorFlow to be
imported. A writer is made with the work folder of the run.
"""

import abc
import importlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

WRITERS: dict[str, tuple[str, str]] = {
    "tensorboard": ("meta_train.run.events", "EventWriter"),
    "wandb": ("meta_train.run.wandb_writer", "WandbWriter"),
    "mlflow": ("meta_train.run.mlflow_writer", "MlflowWriter"),
}
"""Name -> (module, class); a module is imported when its writer is asked for, as it may not be
there."""


def find_writer(name: str) -> Callable[[Path], "Writer"]:
    """The class of a name in ``WRITERS``.

    Raises:
        ModuleNotFoundError: what it writes with is not installed.
    """
    module, attribute = WRITERS[name]
    return getattr(importlib.import_module(module), attribute)


class Writer(abc.ABC):
    """Writes numbers and more by name; what cannot be written now is kept, with an ``OSError``."""

    @abc.abstractmethod
    def write_scalars(self, step: int, scalars: Mapping[str, Any]) -> None:
        """Write numbers by name."""

    @abc.abstractmethod
    def write_texts(self, step: int, texts: Mapping[str, str]) -> None:
        """Write texts by name."""

    @abc.abstractmethod
    def write_images(self, step: int, images: Mapping[str, Any]) -> None:
        """Write images of shape [N, H, W, C] or [H, W, C] by name: uint8, or floats in [0, 1]."""

    @abc.abstractmethod
    def write_histograms(
        self,
        step: int,
        arrays: Mapping[str, Any],
        num_buckets: Mapping[str, int] | None = None,
    ) -> None:
        """Write histograms of arrays by name, with 30 buckets where ``num_buckets`` has none."""

    @abc.abstractmethod
    def write_hparams(self, hparams: Mapping[str, Any]) -> None:
        """Write hyperparameters by name."""

    @abc.abstractmethod
    def flush(self) -> None:
        """Write what could not be written before."""

    @abc.abstractmethod
    def close(self) -> None:
        """Close; what cannot be written is lost."""

    def write_summaries(
        self, step: int, values: Mapping[str, Any], metadata: Mapping[str, Any] | None = None
    ) -> None:
        """Write arrays by name as text; ``metadata`` needs TensorFlow's plugins and is left out."""
        del metadata
        self.write_texts(step, {name: str(np.asarray(value)) for name, value in values.items()})

    def write_videos(self, step: int, videos: Mapping[str, Any]) -> None:
        """Write the frames of videos of shape [N, T, H, W, C] or [T, H, W, C] as images."""
        for name, video in videos.items():
            frames = np.asarray(video)
            self.write_images(step, {name: frames.reshape(-1, *frames.shape[-3:])})

    def write_audios(self, step: int, audios: Mapping[str, Any], *, sample_rate: int) -> None:
        """Audio is not written: nothing here makes sound, and the formats need more packages."""
        del step, audios, sample_rate


class Tracker(Writer):
    """A writer into a tracker, whose run cannot be cut back to a checkpoint.

    When a run resumes, everything that stands in metrics.jsonl is written to the tracker again,
    and after it the meta-steps that are taken again. The tracker leaves out what it has already: so
    that nothing is missing, whatever was lost on the way to it, and nothing is there twice.
    """


def kept_id(path: Path, make: Callable[[], str]) -> str:
    """The id of a tracker's run, which a file in the work folder keeps.

    Args:
        path: the file.
        make: gives a new id where there is no file.
    """
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        written = path.with_suffix(".new")
        written.write_text(make(), encoding="utf-8")
        written.replace(path)
    return path.read_text(encoding="utf-8")


def histogram(array: Any, num_buckets: int = 30) -> tuple[np.ndarray, np.ndarray]:
    """Counts [B] and edges [B + 1] of an array of any shape."""
    return np.histogram(np.asarray(array, np.float64), bins=num_buckets)


def frames(image: Any) -> np.ndarray:
    """One or more images as uint8 of shape [N, H, W, C]."""
    pixels = np.asarray(image)
    if pixels.dtype != np.uint8:
        pixels = np.round(255 * np.clip(pixels, 0, 1)).astype(np.uint8)
    return pixels if pixels.ndim == 4 else pixels[None]
