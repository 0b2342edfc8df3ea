"""When a run is saved, and with what besides its arrays."""

import math
from pathlib import Path
from typing import Any

import jax

from checkpoints import Saver, Store
from configs.base import RunConfig
from launch import errors
from launch.records import Recorder
from launch.resume import RunState
from launch.signals import StopRequests
from launch.validation import Validator
from meta_train import MetaState
from meta_train.evaluation.identity import versions
from meta_train.parallel import Devices

_PACKAGES = ("lopt", "jax", "jaxlib", "flax", "optax", "orbax-checkpoint", "numpy")


class Checkpoints:
    """The checkpoints that a run writes.

    Args:
        folder: where steps go.
        config: complete config.
        devices: that the run uses.
        recorder: what has been recorded goes with every checkpoint, and failures are shown by it.
        validator: the best theta and its loss go with every checkpoint.
        stop: is told whether anything is unsaved.
        saved: meta-step that the run was restored at; None for a new run.
    """

    def __init__(
        self,
        folder: Path,
        config: RunConfig,
        devices: Devices,
        recorder: Recorder,
        validator: Validator,
        stop: StopRequests,
        saved: int | None,
    ) -> None:
        self._folder = folder
        self._saver = Saver(Store(self._folder, config.checkpoint.keep_latest))
        self._config = config
        self._devices = devices
        self._recorder = recorder
        self._validator = validator
        self._stop = stop
        self._last = saved or 0

    def due(self, meta_step: int, last: int) -> bool:
        """Whether to write one after ``meta_step``; ``last`` is the last of the run."""
        if self._recorder.bad_in_a_row:
            return False  # the last good checkpoint is to stay the newest
        if meta_step == last or self._validator.best_meta_step == meta_step:
            return meta_step != self._last
        every = self._config.checkpoint.every_steps
        return bool(every) and meta_step // every > self._last // every

    def metadata(self, meta_step: int) -> dict[str, Any]:
        """What a checkpoint after ``meta_step`` says besides its arrays, as JSON."""
        device = jax.devices()[0].device_kind
        processes = jax.process_count()
        return {
            "meta_steps": meta_step,
            "config": self._config.to_dict(),
            "versions": versions(_PACKAGES),
            "devices": {"count": self._devices.count, "kind": device, "processes": processes},
            "records": self._recorder.snapshot(),
            "validation": self._validator.snapshot(),
        }

    def save(self, meta_step: int, state: MetaState) -> None:
        """Start to write a checkpoint."""
        self._recorder.flush()
        validator = self._validator
        best_theta = state.theta if validator.best_theta is None else validator.best_theta
        content = self.metadata(meta_step)
        measured = validator.last_meta_step == meta_step and math.isfinite(validator.last_loss)
        score = validator.last_loss if measured else None
        run_state = RunState(state, best_theta)
        self._report(self._saver.save(meta_step, run_state, content, score))
        self._last = meta_step

    def poll(self) -> None:
        """Report a checkpoint that could not be written, as soon as that is known."""
        self._report(self._saver.poll())

    def finish(self, meta_step: int, state: MetaState) -> None:
        """Make sure that ``meta_step`` is saved.

        Raises:
            RunFailed: it cannot be.
        """
        self._report(self._saver.wait())
        if self._saver.saved != meta_step:
            self.save(meta_step, state)
            self._report(self._saver.wait())
        if self._saver.saved != meta_step:
            raise errors.RunFailed(
                f"the state after meta-step {meta_step} could not be saved in {self._folder}; "
                "the message above tells why. The checkpoints before it are kept"
            )
        self._stop.unsaved = False

    def close(self) -> None:
        """Wait for the last checkpoint."""
        self._saver.close()

    def _report(self, failure: str | None) -> None:
        if failure:
            self._recorder.message(f"checkpoint: {failure}; training goes on")
