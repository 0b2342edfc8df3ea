"""Prepared data sets on disk: where they are, whether they are complete, and how to read them.

The layout is that of TensorFlow Datasets (TFDS), ``data_dir/name/version`` in array_record
format, so other programs read the same files. Reading 70,000 records takes seconds; the arrays are
therefore cached in one uncompressed .npz file, which NumPy alone reads at the next start.
"""

import contextlib
import hashlib
import io
import json
import os
import tempfile
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from tasks.datasets import buckets
from tasks.datasets.dataset import Dataset, from_arrays
from tasks.datasets.errors import MissingData
from tasks.datasets.specs import Spec

if TYPE_CHECKING:
    from etils import epath

    Folder = Path | epath.Path

_CACHE_NAME = "lopt-cache.npz"
_CACHE_FORMAT = 1  # raise it whenever the order of examples or the stored arrays change
_BLOCK = 1000  # records per read


def default_data_dir() -> Path:
    """$TFDS_DATA_DIR, or ~/tensorflow_datasets, as TFDS itself has it."""
    return Path(os.environ.get("TFDS_DATA_DIR") or "~/tensorflow_datasets").expanduser()


def version_dir(spec: Spec, data_dir: str | os.PathLike | None) -> "Folder":
    """Folder of a prepared data set, whether or not it exists; may be in a bucket."""
    given = os.environ.get("TFDS_DATA_DIR") if data_dir is None else os.fspath(data_dir)
    if given and "://" in given:
        return buckets.place(given) / spec.name / spec.version
    base = default_data_dir() if data_dir is None else Path(data_dir).expanduser()
    return base / spec.name / spec.version


def read_info(folder: "Folder") -> dict[str, Any] | None:
    """TFDS's description of a completely prepared data set of any format, or None.

    TFDS writes into a temporary folder that it renames at the end, so a folder of this name with
    a readable ``dataset_info.json`` is complete.
    """
    try:
        info = json.loads((folder / buckets.INFO).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return info if (folder / "features.json").is_file() else None


def ready_info(folder: "Folder") -> dict[str, Any] | None:
    """The same for a data set in the format that ``load_prepared`` reads, or None."""
    info = read_info(folder)
    return info if info is not None and info.get("fileFormat") == "array_record" else None


def load_prepared(spec: Spec, data_dir: str | os.PathLike | None = None) -> Dataset:
    """Load a prepared data set, from the cache where it is current.

    Args:
        spec: the data set.
        data_dir: TFDS data folder; None takes $TFDS_DATA_DIR or ~/tensorflow_datasets. One in a
            bucket, gs://..., is copied into the user's cache folder.

    Returns:
        The data set with numpy leaves.

    Raises:
        MissingData: it is not prepared there; the message says what to run.
    """
    folder = version_dir(spec, data_dir)
    if ready_info(folder) is None:
        raise MissingData(_missing_message(spec, folder, data_dir))
    folder = folder if isinstance(folder, Path) else buckets.fetch(folder)
    stamp = _stamp(folder)
    for path in _cache_paths(folder):
        cached = _read_cache(path, stamp)
        if cached is not None:
            return cached
    dataset = _read_records(folder)
    write_cache(folder, dataset)
    return dataset


def write_cache(folder: Path, dataset: Dataset) -> None:
    """Keep the arrays of a prepared data set for the next start; silently none if all is read-only.

    Args:
        folder: the prepared data set.
        dataset: what reading its records gives.
    """
    stamp = _stamp(folder)
    for path in _cache_paths(folder):
        if _write_cache_file(path, stamp, dataset):
            return


def _missing_message(spec: Spec, folder: "Folder", data_dir: str | os.PathLike | None) -> str:
    info = read_info(folder)
    where = "" if data_dir is None else f" --data_dir={data_dir}"
    if info is not None:
        return (
            f"{folder} holds {spec.name} in the format {info.get('fileFormat')!r}; lopt reads "
            f"'array_record'. Prepare it into another folder:\n"
            f"    lopt data prepare {spec.name} --data_dir=OTHER_DIR"
        )
    return (
        f"{spec.name} is not prepared: there is no complete data set in {folder}. Run\n"
        f"    lopt data prepare {spec.name}{where}\n"
        f"or, without a network, with the raw files ({spec.raw}) in DIR,\n"
        f"    lopt data prepare {spec.name} --from_dir=DIR{where}"
    )


def _read_records(folder: Path) -> Dataset:
    import tensorflow_datasets as tfds  # slow to import, and the cache does without it

    builder: Any = tfds.builder_from_directory(os.fspath(folder))
    # TFDS's own decoding takes three times as long, and logs a warning where OpenCV is missing.
    skip: Any = tfds.decode.SkipDecoding
    raw = {"image": skip()}
    sources = [builder.as_data_source(split, decoders=raw) for split in ("train", "test")]
    parts = [_read_split(source) for source in sources]
    num_classes = builder.info.features["label"].num_classes
    return from_arrays(*parts[0], num_classes=num_classes, test=parts[1])


def _read_split(source: Any) -> tuple[np.ndarray, np.ndarray]:
    from PIL import Image  # only reading records needs it

    images, labels = [], []
    for start in range(0, len(source), _BLOCK):
        block = source.__getitems__(range(start, min(start + _BLOCK, len(source))))
        decoded = [np.asarray(Image.open(io.BytesIO(record["image"]))) for record in block]
        images.append(np.stack(decoded))
        labels += [int(record["label"]) for record in block]
    return np.concatenate(images), np.asarray(labels)


def _stamp(folder: Path) -> str:
    """Changes whenever a file of the prepared data set changes."""
    with os.scandir(folder) as entries:
        files = sorted(
            (entry.name, entry.stat().st_size, entry.stat().st_mtime_ns)
            for entry in entries
            if entry.is_file() and _CACHE_NAME not in entry.name
        )
    return hashlib.sha256(repr((_CACHE_FORMAT, files)).encode()).hexdigest()


def _cache_paths(folder: Path) -> tuple[Path, Path]:
    """Beside the records, or, where that is read-only, in the user's cache folder."""
    tag = hashlib.sha256(os.fspath(folder.resolve()).encode()).hexdigest()[:16]
    return folder / _CACHE_NAME, buckets.user_cache() / f"{folder.parent.name}-{tag}.npz"


def _read_cache(path: Path, stamp: str) -> Dataset | None:
    """The cached data set; None where there is none, or it is stale or damaged."""
    try:
        # NumPy leaves a file that it has opened itself open when it turns out to be damaged.
        with open(path, "rb") as file, np.load(file, allow_pickle=False) as stored:
            header = json.loads(str(stored["header"]))
            if header.pop("stamp") != stamp:
                return None
            header["shape"] = tuple(header["shape"])
            arrays = {name: stored[name] for name in ("images", "labels", "scale", "offset")}
            return Dataset(**arrays, **header)
    except (OSError, EOFError, ValueError, KeyError, TypeError, zipfile.BadZipFile):
        return None


def _write_cache_file(path: Path, stamp: str, dataset: Dataset) -> bool:
    header = {
        "stamp": stamp,
        "shape": dataset.shape,
        "num_classes": dataset.num_classes,
        "num_train": dataset.num_train,
        "num_valid": dataset.num_valid,
        "fixed_test": dataset.fixed_test,
    }
    temporary = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{_CACHE_NAME}-")
        with os.fdopen(handle, "wb") as file:
            np.savez(
                file,
                header=np.asarray(json.dumps(header)),
                images=dataset.images,
                labels=dataset.labels,
                scale=dataset.scale,
                offset=dataset.offset,
            )
        # mkstemp makes it private; others may share the data folder.
        os.chmod(temporary, 0o644)
        os.replace(temporary, path)
    except OSError:
        if temporary is not None:
            with contextlib.suppress(OSError):
                os.unlink(temporary)
        return False
    return True
