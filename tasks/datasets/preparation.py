"""Write a published data set in the layout of TensorFlow Datasets, without TensorFlow.

TFDS's own builders for these sets parse the raw files with TensorFlow. The builder here carries
the same name and version, parses them with NumPy, and leaves what plain
``tfds.data_source(name, data_dir=..., split=..., download=False)`` reads.
"""

import contextlib
import io
import os
import threading
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from tasks.datasets import buckets
from tasks.datasets.dataset import from_arrays
from tasks.datasets.errors import MissingData
from tasks.datasets.raw import RawData, find_raw, read_raw
from tasks.datasets.specs import Spec
from tasks.datasets.store import ready_info, version_dir, write_cache

if TYPE_CHECKING:
    from tasks.datasets.store import Folder

_PROBE_SECONDS = 3.0


def prepare_spec(
    spec: Spec, data_dir: str | os.PathLike | None, from_dir: str | os.PathLike | None
) -> "Folder":
    """Prepare a data set once; a second call finds it done and returns at once.

    Args:
        spec: the data set.
        data_dir: TFDS data folder; None takes $TFDS_DATA_DIR or ~/tensorflow_datasets. For one in a
            bucket, gs://..., the data set is prepared in the user's cache folder and uploaded.
        from_dir: folder with the raw files; None downloads them.

    Returns:
        The folder of the prepared data set.

    Raises:
        RawDataError: a raw file is missing or damaged; the message names it.
        MissingData: no ``from_dir``, and the publisher cannot be reached (within 5 seconds).
        FileExistsError: something else lies where the data set belongs.
    """
    folder = version_dir(spec, data_dir)
    if ready_info(folder) is not None:
        return folder
    if folder.exists():
        raise FileExistsError(
            f"{folder} exists but is no complete data set in array_record format; remove it or "
            "choose another data_dir."
        )
    if not isinstance(folder, Path):
        here = buckets.copy_of(folder)
        prepare_spec(spec, here.parent.parent, from_dir)
        buckets.upload(here, folder)
        return folder
    if from_dir is not None:
        files = find_raw(spec, Path(from_dir).expanduser())
    else:
        files = _download(spec, folder.parent.parent)
    raw = read_raw(spec, files)
    try:
        _write(spec, raw, folder.parent.parent)
    except Exception:
        # Another process may have prepared the same set first.
        if ready_info(folder) is None:
            raise
    # The same arrays that reading the records would give; so even the first start is a fast one.
    train, test = raw[:2], raw[2:]
    write_cache(folder, from_arrays(*train, num_classes=len(spec.labels), test=test))
    return folder


def _write(spec: Spec, raw: RawData, data_dir: Path) -> None:
    import tensorflow_datasets  # slow to import, and only preparation writes

    tfds: Any = tensorflow_datasets

    tfds.disable_progress_bar()
    with tfds.core.registered.skip_registration():
        builder_class = _builder_class(tfds, spec, raw)
    builder = builder_class(data_dir=os.fspath(data_dir))
    # TFDS prints what it does, with "Unknown size" for raw files that it has not downloaded.
    with contextlib.redirect_stdout(io.StringIO()):
        builder.download_and_prepare(file_format="array_record")


def _builder_class(tfds: Any, spec: Spec, raw: RawData) -> Any:
    class Builder(tfds.core.GeneratorBasedBuilder):
        name = spec.name
        VERSION = tfds.core.Version(spec.version)

        def _info(self) -> Any:
            features = {
                "image": tfds.features.Image(shape=spec.shape),
                "label": tfds.features.ClassLabel(names=list(spec.labels)),
            }
            if spec.name == "cifar10":
                features["id"] = tfds.features.Text()
            return tfds.core.DatasetInfo(
                builder=self,
                description=f"{spec.name}, prepared from the published raw files.",
                features=tfds.features.FeaturesDict(features),
                supervised_keys=("image", "label"),
            )

        def _split_generators(self, dl_manager: Any) -> dict[str, Any]:
            del dl_manager
            return {
                "train": self._generate_examples(raw.train_images, raw.train_labels, "train"),
                "test": self._generate_examples(raw.test_images, raw.test_labels, "test"),
            }

        def _generate_examples(
            self, images: np.ndarray, labels: np.ndarray, split: str
        ) -> Iterator[tuple[int, dict[str, Any]]]:
            for index, (image, label) in enumerate(zip(images, labels, strict=True)):
                record = {"image": io.BytesIO(_png(image)), "label": int(label)}
                if spec.name == "cifar10":
                    record["id"] = f"{split}_{index:05d}"
                yield index, record

    return Builder


def _png(image: np.ndarray) -> bytes:
    from PIL import Image  # only preparation needs it

    buffer = io.BytesIO()
    pixels = image[..., 0] if image.shape[-1] == 1 else image
    Image.fromarray(np.ascontiguousarray(pixels)).save(buffer, "PNG", compress_level=1)
    return buffer.getvalue()


def _download(spec: Spec, data_dir: Path) -> dict[str, Path]:
    """Download the raw files through TFDS, which knows their checksums."""
    _probe(spec, next(iter(spec.urls.values())))
    import tensorflow_datasets as tfds  # slow to import; not needed where the probe fails

    tfds.disable_progress_bar()
    manager = tfds.download.DownloadManager(
        download_dir=data_dir / "downloads", dataset_name=spec.name
    )
    paths: Any = manager.download(spec.urls)
    return {role: Path(path) for role, path in paths.items()}


def _probe(spec: Spec, url: str) -> None:
    """Fail fast where there is no network; TFDS would retry for minutes.

    In a thread, because name resolution ignores every timeout.
    """
    outcome: list[Exception | None] = []

    def ask() -> None:
        try:
            request = urllib.request.Request(url, method="HEAD")
            urllib.request.urlopen(request, timeout=_PROBE_SECONDS).close()
            outcome.append(None)
        except urllib.error.HTTPError as error:
            error.close()
            # A server that answers but knows no HEAD is still a server that answers.
            outcome.append(None if error.code in (405, 501) else error)
        except (OSError, ValueError) as error:
            outcome.append(error)

    thread = threading.Thread(target=ask, daemon=True)
    thread.start()
    thread.join(_PROBE_SECONDS + 0.5)
    error = outcome[0] if outcome else TimeoutError(f"no answer in {_PROBE_SECONDS:.0f} seconds")
    if error is None:
        return
    raise MissingData(
        f"{spec.name} cannot be downloaded: {url} cannot be reached ({error}). Bring the raw files "
        f"({spec.raw}) into a folder DIR and run\n"
        f"    lopt data prepare {spec.name} --from_dir=DIR"
    ) from error
