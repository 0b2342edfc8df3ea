"""Steps in a folder: written by Orbax, valid when complete, checked when read.

The protocol is one for disks and buckets, which cannot rename folders. The arrays go into the
folder of the step itself; its manifest comes last, and goes first where a step is replaced or let
go.
"""

import contextlib
import errno
import logging
import os
import shutil
import warnings
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from etils import epath
from jax.sharding import SingleDeviceSharding

from checkpoints import arrays, files, manifest
from checkpoints.arrays import MismatchError
from checkpoints.manifest import DamagedError

_ITEM = "state"
_OVERHEAD = 1 << 17  # bytes that a step takes besides its arrays, at most


class Step(NamedTuple):
    """One complete step, as its manifest describes it."""

    number: int
    folder: epath.Path
    metadata: dict[str, Any]
    """What was passed to ``write``."""
    score: float | None
    """Meta-validation loss of this very step, if it was measured; the lowest is kept."""
    arrays: arrays.Description
    num_bytes: int
    """Size of all files."""


class Store:
    """The steps of one run.

    Args:
        folder: holds one folder per step, named by its number; may be an address in a bucket,
            gs://...
        keep_latest: number of newest steps that are kept; besides them the best one is, by score.
    """

    def __init__(self, folder: epath.PathLike, keep_latest: int = 2) -> None:
        self.folder = epath.Path(folder)
        self.keep_latest = keep_latest

    def numbers(self) -> list[int]:
        """Numbers of all steps, damaged ones too, in ascending order.

        A folder without a manifest is none: writing it has not come to its end.
        """
        found = (name.partition("/") for name in files.sizes(self.folder))
        return sorted(
            int(step) for step, _, file in found if file == manifest.NAME and step.isdecimal()
        )

    def read(self, number: int) -> Step:
        """The manifest of a step; its data are not looked at.

        Raises:
            DamagedError: the manifest is missing or damaged.
        """
        return self._describe(number, manifest.read)

    def verify(self, number: int) -> Step:
        """``read``, after comparing every file of the step with its checksum.

        Raises:
            DamagedError: a file is missing or differs.
        """
        return self._describe(number, manifest.verify)

    def write(
        self, number: int, tree: Any, metadata: Mapping[str, Any], score: float | None = None
    ) -> None:
        """``start`` to write a step, and finish it."""
        self.start(number, tree, metadata, score)()

    def start(
        self,
        number: int,
        tree: Any,
        metadata: Mapping[str, Any],
        score: float | None = None,
        before: Callable[[], None] = lambda: None,
    ) -> Callable[[], None]:
        """Begin to write a step; it replaces one of the same number.

        Where there are several processes all of them call this, with the same arguments and each in
        the thread in which it runs its programs: Orbax has them agree by collectives. The first one
        writes the manifest when all arrays are there.

        Args:
            number: of the step.
            tree: arrays, typed keys among them, on any devices; not donated before the step is
                written.
            metadata: JSON.
            score: meta-validation loss at this step.
            before: is called in the first process, in the thread that finishes, when all arrays
                are there: the step is not valid before it has returned, and never if it fails.

        Returns:
            Writes the step, in any thread, and then lets older ones go; raises like this.

        Raises:
            OSError: the step could not be written; the others are still there.
        """
        folder = self.folder / str(number)
        named = arrays.flatten(tree)
        stored = {name: x for name, x in named.items() if x.size}
        with _undone_on_failure(folder):
            if _is_first():
                self._remove_unfinished()
                _remove(folder)  # damaged, or of a run whose config has changed since
                self.folder.mkdir(parents=True, exist_ok=True)
                _check_space(self.folder, sum(x.nbytes for x in stored.values()))
            saving = _orbax_start(folder, stored)

        def finish() -> None:
            with _undone_on_failure(folder):
                with _quiet():
                    saving.result()
                if not _is_first():
                    return
                content = {
                    "number": number,
                    "metadata": dict(metadata),
                    "score": score,
                    "arrays": list(arrays.describe(named).items()),
                }
                before()
                manifest.write(folder, content)
            self._prune()

        return finish

    def holds(self, number: int, like: Any) -> bool:
        """Whether ``restore`` would find all arrays of ``like``.

        Raises:
            DamagedError: the manifest is missing or damaged.
        """
        try:
            arrays.check_same(arrays.flatten(like), self.read(number).arrays)
        except MismatchError:
            return False
        return True

    def restore(self, number: int, like: Any) -> Any:
        """The tree of a step, or a part of it, after verifying its files and every array.

        Args:
            number: of the step.
            like: tree of ``jax.ShapeDtypeStruct`` with the names, shapes and dtypes that are
                wanted; leaves with a sharding are put there, whatever devices they came from.

        Raises:
            DamagedError: the step is not what was saved.
            MismatchError: the step does not hold these arrays.
        """
        step = self.verify(number)
        wanted = arrays.flatten(like)
        arrays.check_same(wanted, step.arrays)
        return arrays.unflatten(like, self._load(step, wanted))

    def load(self, number: int) -> arrays.Arrays:
        """All arrays of a step by name, in the order of the tree, verified like ``restore``."""
        step = self.verify(number)
        return self._load(step, {})

    def _load(self, step: Step, wanted: arrays.Arrays) -> arrays.Arrays:
        """All arrays of a step by name; those of ``wanted`` where that puts them."""
        here = SingleDeviceSharding(jax.local_devices()[0])
        shapes = {
            name: wanted[name]
            if name in wanted
            else jax.ShapeDtypeStruct(tuple(x["shape"]), jnp.dtype(x["dtype"]), sharding=here)
            for name, x in step.arrays.items()
        }
        try:
            loaded = _orbax_load(step.folder, {name: x for name, x in shapes.items() if x.size})
        except Exception as error:
            raise DamagedError(f"Orbax cannot read it ({_reason(error)})") from error
        for name, array in loaded.items():
            crc32 = step.arrays[name]["crc32"]
            if crc32 is not None and arrays.is_here(array) and arrays.checksum(array) != crc32:
                raise DamagedError(f"array {name} has a wrong checksum")
        # Orbax stores no arrays without elements: they are made anew.
        return {
            name: loaded[name] if x.size else jnp.zeros(x.shape, x.dtype)
            for name, x in shapes.items()
        }

    def _describe(self, number: int, load: Any) -> Step:
        folder = self.folder / str(number)
        content = load(folder)
        if content["number"] != number:
            raise DamagedError(f"its manifest is that of step {content['number']}")
        sizes = sum(file["size"] for file in content["files"].values())
        description = dict(content["arrays"])
        return Step(number, folder, content["metadata"], content["score"], description, sizes)

    def _prune(self) -> None:
        """Remove what is neither among the newest nor the best; a damaged step is left alone."""
        whole: list[Step] = []
        for number in self.numbers():
            with contextlib.suppress(DamagedError):
                whole.append(self.read(number))
        scored = [step for step in whole if step.score is not None]
        best = sorted(scored, key=lambda step: step.score or 0.0)[:1]
        for step in whole[: -self.keep_latest]:
            if step not in best:
                with contextlib.suppress(OSError):
                    _remove(step.folder)

    def _remove_unfinished(self) -> None:
        """Remove what processes have left that were killed while they wrote."""
        if self.folder.is_dir():
            numbers = set(map(str, self.numbers()))
            for path in self.folder.iterdir():
                if path.name.isdecimal() and path.name not in numbers:
                    _remove(path)


def _remove(folder: epath.Path) -> None:
    """Remove a step, its manifest first, so that no part of it is ever taken for a step."""
    (folder / manifest.NAME).unlink(missing_ok=True)
    folder.rmtree(missing_ok=True)


def _is_first() -> bool:
    return jax.process_index() == 0


@contextlib.contextmanager
def _undone_on_failure(unfinished: epath.Path) -> Iterator[None]:
    """Leave nothing behind where writing fails, and let that be an ``OSError``."""
    try:
        yield
    except Exception as error:
        if _is_first():
            with contextlib.suppress(Exception):  # of whatever kind; without a manifest it is none
                _remove(unfinished)
        raise _as_os_error(error) from error


def _check_space(folder: epath.Path, num_bytes: int) -> None:
    """Fail before Orbax does: its threads leave tracebacks behind on a full disk."""
    if files.is_local(folder) and shutil.disk_usage(folder).free < num_bytes + _OVERHEAD:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def _orbax_start(folder: epath.Path, stored: arrays.Arrays) -> Any:
    from orbax.checkpoint import v1 as ocp

    context = ocp.Context()
    context.atomicity.mode = ocp.options.AtomicityMode.COMMIT_FILE
    # Compression takes five times as long and saves 8 % on float data.
    context.array.saving.use_compression = False
    with _quiet(), context:
        return ocp.save_checkpointables_async(files.absolute(folder), {_ITEM: stored})


def _orbax_load(folder: epath.Path, wanted: arrays.Arrays) -> arrays.Arrays:
    from orbax.checkpoint import v1 as ocp

    with _quiet():
        return dict(ocp.load_checkpointables(files.absolute(folder), {_ITEM: wanted})[_ITEM])


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Without Orbax's warnings, and its log of errors that are raised anyway."""
    logger = logging.getLogger("absl")
    level = logger.level
    logger.setLevel(logging.CRITICAL)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)


def _reason(error: BaseException) -> str:
    """The innermost cause in one line: Orbax wraps the useful text several times."""
    while error.__cause__ is not None:
        error = error.__cause__
    return str(error).splitlines()[0] if str(error) else type(error).__name__


def _as_os_error(error: Exception) -> OSError:
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, OSError):
            return cause
        cause = cause.__cause__
    return OSError(_reason(error))
