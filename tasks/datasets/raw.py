"""Raw files of the published data sets, checked and read into arrays; no unpickling."""

import io
import json
import tarfile
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np

from tasks.datasets.errors import RawDataError
from tasks.datasets.idx import read_idx
from tasks.datasets.specs import Spec

_TRAIN_BATCHES = tuple(f"data_batch_{i}" for i in range(1, 6))
_CIFAR_ROW = 1 + 3 * 32 * 32
_ARCHIVE = "cifar-10-binary.tar.gz"


class RawData(NamedTuple):
    """An official train part and test part; images uint8 [n, h, w, c], labels uint8 [n]."""

    train_images: np.ndarray
    train_labels: np.ndarray
    test_images: np.ndarray
    test_labels: np.ndarray


def find_raw(spec: Spec, folder: Path) -> dict[str, Path]:
    """Find the raw files of a data set.

    Args:
        spec: the data set.
        folder: the folder that holds them (for CIFAR-10 also the archive itself).

    Returns:
        Path of each role, for ``read_raw``.

    Raises:
        RawDataError: the folder or a file is missing.
    """
    if not folder.exists():
        raise RawDataError(f"{folder} does not exist; it should hold {spec.raw}.")
    if spec.name == "cifar10":
        return _find_cifar(spec, folder)
    return {role: _first(spec, folder, _idx_names(role)) for role in spec.urls}


def read_raw(spec: Spec, files: dict[str, Path]) -> RawData:
    """Read and check raw files.

    Raises:
        RawDataError: a file is damaged, counts differ, or a label is out of range; the message
            names the file.
    """
    if spec.name != "cifar10":
        return _read_idx_pair(spec, files)
    if "archive" in files:
        return _cifar_from_archive(files["archive"])
    if "train_labels" in files:
        return _cifar_from_sheets(files)
    return _cifar_from_batches(lambda role: files[role].read_bytes(), lambda r: str(files[r]))


def _idx_names(role: str) -> list[str]:
    names = (role, role.replace("-idx", ".idx"))
    return [name + suffix for name in names for suffix in ("", ".gz")]


def _first(spec: Spec, folder: Path, names: list[str]) -> Path:
    for name in names:
        if (folder / name).is_file():
            return folder / name
    raise RawDataError(
        f"{folder} holds no {names[0]} (looked for {', '.join(names)}). {spec.name} needs "
        f"{spec.raw}."
    )


def _read_idx_pair(spec: Spec, files: dict[str, Path]) -> RawData:
    parts: list[np.ndarray] = []
    for part in ("train", "t10k"):
        image_path = files[f"{part}-images-idx3-ubyte"]
        label_path = files[f"{part}-labels-idx1-ubyte"]
        images, labels = read_idx(image_path, 3), read_idx(label_path, 1)
        if images.shape[1:] != spec.shape[:2]:
            raise RawDataError(
                f"{image_path} holds images of {images.shape[1:]} pixels; {spec.name} has "
                f"{spec.shape[:2]}."
            )
        _check(images, labels, str(image_path), str(label_path))
        parts += [images[..., None], labels]
    return RawData(*parts)


def _check(images: np.ndarray, labels: np.ndarray, image_name: str, label_name: str) -> None:
    if len(images) != len(labels):
        raise RawDataError(
            f"{image_name} holds {len(images)} images but {label_name} {len(labels)} labels; they "
            "belong to different sets, or one is incomplete."
        )
    if not len(images):
        raise RawDataError(f"{image_name} holds no images.")
    if labels.max() > 9:
        raise RawDataError(f"{label_name} holds the label {labels.max()}; labels go from 0 to 9.")


def _find_cifar(spec: Spec, folder: Path) -> dict[str, Path]:
    if folder.is_file():
        return {"archive": folder}
    if (folder / _ARCHIVE).is_file():
        return {"archive": folder / _ARCHIVE}
    batches = (*_TRAIN_BATCHES, "test_batch")
    for place in (folder, folder / "cifar-10-batches-bin"):
        if any((place / f"{name}.bin").is_file() for name in batches):
            return {name: _first(spec, place, [f"{name}.bin"]) for name in batches}
    if any((folder / f"{name}.png").is_file() for name in batches):
        files = {name: _first(spec, folder, [f"{name}.png"]) for name in batches}
        for part in ("train", "test"):
            # The sheets that circulate spell it "lables".
            names = [f"{part}_labels.json", f"{part}_lables.json"]
            files[f"{part}_labels"] = _first(spec, folder, names)
        return files
    remark = ""
    if (folder / "data_batch_1").exists() or (folder / "cifar-10-python.tar.gz").exists():
        remark = " The Python version is made of pickles, which are never read: they can run code."
    raise RawDataError(f"{folder} holds no CIFAR-10; it needs {spec.raw}.{remark}")


def _cifar_from_batches(read: Callable[[str], bytes], name_of: Callable[[str], str]) -> RawData:
    """Rows of 1 label byte and 3,072 pixels: the red plane, the green one, the blue one."""

    def parse(role: str) -> tuple[np.ndarray, np.ndarray]:
        data, name = read(role), name_of(role)
        if not data or len(data) % _CIFAR_ROW:
            raise RawDataError(
                f"{name} is truncated or no CIFAR-10 batch: {len(data)} bytes are not a positive "
                f"multiple of {_CIFAR_ROW}."
            )
        rows = np.frombuffer(data, np.uint8).reshape(-1, _CIFAR_ROW)
        images = rows[:, 1:].reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1)
        _check(images, rows[:, 0], name, name)
        return images, rows[:, 0]

    train = [parse(role) for role in _TRAIN_BATCHES]
    images, labels = (np.concatenate(parts) for parts in zip(*train, strict=True))
    return RawData(images, labels, *parse("test_batch"))


def _cifar_from_archive(path: Path) -> RawData:
    wanted = {f"{name}.bin" for name in (*_TRAIN_BATCHES, "test_batch")}
    found: dict[str, bytes] = {}
    try:
        with tarfile.open(path, "r:*") as archive:
            for member in archive:
                name = member.name.rsplit("/", 1)[-1]
                if name in wanted and (stream := archive.extractfile(member)) is not None:
                    found[name.removesuffix(".bin")] = stream.read()
    except (tarfile.TarError, OSError, EOFError, zlib.error) as error:
        raise RawDataError(f"{path} is no readable tar archive ({error}).") from error
    missing = sorted(name for name in wanted if name.removesuffix(".bin") not in found)
    if missing:
        raise RawDataError(
            f"{path} holds no {', '.join(missing)}; the binary version of CIFAR-10 has them "
            "(the Python version, made of pickles, is never read)."
        )
    return _cifar_from_batches(found.__getitem__, lambda role: f"{path}:{role}.bin")


def _cifar_from_sheets(files: dict[str, Path]) -> RawData:
    """PNG sheets of width 1,024: one image per row of pixels; labels as JSON lists."""
    parts: list[np.ndarray] = []
    for roles, part in ((_TRAIN_BATCHES, "train"), (("test_batch",), "test")):
        images = np.concatenate([_read_sheet(files[role]) for role in roles])
        labels = _read_labels(files[f"{part}_labels"])
        _check(
            images, labels, f"{files[roles[0]].parent}/{part} sheets", str(files[f"{part}_labels"])
        )
        parts += [images, labels]
    return RawData(*parts)


def _read_sheet(path: Path) -> np.ndarray:
    from PIL import Image  # only preparation needs it

    try:
        with Image.open(io.BytesIO(path.read_bytes())) as sheet:
            pixels = np.asarray(sheet)
    except (OSError, SyntaxError, ValueError, zlib.error) as error:
        raise RawDataError(f"{path} is no readable PNG file ({error}).") from error
    if pixels.dtype != np.uint8 or pixels.ndim != 3 or pixels.shape[1:] != (1024, 3):
        raise RawDataError(
            f"{path} is an image of {pixels.shape} {pixels.dtype}; a sheet is RGB, 1024 pixels "
            "wide, with one 32 x 32 image per row."
        )
    return pixels.reshape(-1, 32, 32, 3)


def _read_labels(path: Path) -> np.ndarray:
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise RawDataError(f"{path} is no readable JSON file ({error}).") from error
    valid = isinstance(values, list) and all(type(v) is int and 0 <= v <= 9 for v in values)
    if not valid:
        raise RawDataError(f"{path} must hold one JSON list of integers from 0 to 9.")
    return np.asarray(values, np.uint8)
