"""Random images in the place of data sets that are not prepared; what they show takes no time."""

import json
import os
from collections.abc import Iterable
from pathlib import Path

import numpy as np

from tasks.datasets.dataset import from_arrays
from tasks.datasets.specs import SPECS, Spec
from tasks.datasets.store import ready_info, version_dir, write_cache

_TEST = 10_000


def fill(
    folder: Path, tasks: Iterable[str], data_dir: str | os.PathLike[str] | None = None
) -> set[str]:
    """Put the data sets of tasks into a folder: the prepared ones, and others of random images.

    Args:
        folder: is filled, as far as it is not yet.
        tasks: names in ``tasks.TASKS``, which begin with that of their data set.
        data_dir: where prepared data sets lie; None takes the usual place.

    Returns:
        Names of the data sets of random images.
    """
    made, names = set(), tuple(tasks)
    for spec in SPECS.values():
        if not any(name.startswith(spec.name) for name in names):
            continue
        prepared, place = version_dir(spec, data_dir), folder / spec.name / spec.version
        place.parent.mkdir(parents=True, exist_ok=True)
        if ready_info(prepared) is None:
            made.add(spec.name)
            if not place.exists():
                _write(spec, place)
        elif not place.exists():
            os.symlink(os.path.abspath(prepared), place)
    return made


def _write(spec: Spec, place: Path) -> None:
    """A data set that ``tasks`` reads from its cache: it has no records."""
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (spec.num_examples, *spec.shape), np.uint8)
    labels = rng.integers(0, len(spec.labels), spec.num_examples, np.uint8)
    test = images[:_TEST], labels[:_TEST]
    data = from_arrays(images[_TEST:], labels[_TEST:], num_classes=len(spec.labels), test=test)
    place.mkdir()
    (place / "features.json").write_text("{}", encoding="utf-8")
    info = json.dumps({"name": spec.name, "fileFormat": "array_record"})
    (place / "dataset_info.json").write_text(info, encoding="utf-8")
    write_cache(place, data)
