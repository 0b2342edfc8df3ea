"""A run of meta-training: its state is stepped, saved and restored, and hooks look on.

A run owns its checkpoints, so this folder is the one part of meta-training that imports
``checkpoints``. It knows no configs and no commands: they make a run from a config, other programs
make one from objects.
"""

import dataclasses
import functools
import math
from collections.abc import Callable, Mapping, Sequence
from os import PathLike
from typing import Any

import jax
from etils import epath

from checkpoints import Saver, Store
from meta_train.capacity import Memory
from meta_train.estimators.clocks import run_in
from meta_train.groups import averaged
from meta_train.mixture import Records
from meta_train.run.start import CHECKPOINTS, RunFailed, RunState, Start, find, load_all
from meta_train.run.tally import Record, Tally
from meta_train.systems.windows import Windows
from meta_train.trainer import MetaTrainer
from meta_train.types import MetaState, Theta
from meta_train.versions import versions

_PACKAGES = ("lopt", "jax", "jaxlib", "flax", "optax", "orbax-checkpoint", "numpy")


class Hook:
    """Something that a run does besides training; all methods may be left as they are."""

    def between(self, run: "Run") -> None:
        """Do what is due; called by ``Run.train`` before each dispatch and after the last."""

    def recorded(self, run: "Run", records: Sequence[Record]) -> None:
        """Learn the numbers of a dispatch, which have reached the host."""

    def validated(self, run: "Run", loss: float, best: bool) -> None:
        """Learn that theta was validated, and whether its loss is the lowest so far."""

    def snapshot(self) -> dict[str, Any]:
        """What a checkpoint is to keep of the hook beside ``Run.tally``, as JSON."""
        return {}

    def persist(self) -> None:
        """Let what ``snapshot`` told of outlast the process and the machine.

        Called before the checkpoint counts that holds the snapshot, in another thread than all
        else, while the run continues. Where it raises ``OSError`` the checkpoint is not written.
        """

    def restore(self, snapshot: Mapping[str, Any]) -> None:
        """Resume from what ``snapshot`` gave to the checkpoint that the run resumes from."""

    def close(self) -> None:
        """Called when the run is closed."""


@dataclasses.dataclass
class Validations:
    """What the validations of a run have come to."""

    best_loss: float | None = None
    best_meta_step: int | None = None
    last_meta_step: int = 0


class Run:
    """One run of meta-training.

    Args:
        trainer: takes the meta-steps.
        key: typed PRNG key of the whole run.
        folder: its checkpoints go into ``folder``/checkpoints; may be in a bucket, gs://...
        meta_steps: length of the run.
        theta: initial meta-parameters; None asks the first system for them.
        hooks: are told of everything, in this order.
        steps_per_window: meta-steps that draw from the same window of data that stream, see
            ``tasks.data_limit``; a dispatch ends with its window.
        keep_latest: newest checkpoints that are kept, besides that of the best validation.
        about: JSON that every checkpoint holds besides.
        started: ``time.monotonic()`` of its start, where that was before this call.

    Example:
        >>> hooks = [Records("runs/a"), make_progress(), Checkpointing(100)]  # doctest: +SKIP
        >>> run = Run(trainer, key, "runs/a", meta_steps=500, hooks=hooks)  # doctest: +SKIP
        >>> run.restore()  # doctest: +SKIP
        >>> run.train()  # doctest: +SKIP
        >>> run.save()  # doctest: +SKIP
        >>> run.close()  # doctest: +SKIP
    """

    def __init__(
        self,
        trainer: MetaTrainer,
        key: jax.Array,
        folder: str | PathLike[str],
        *,
        meta_steps: int,
        theta: Theta | None = None,
        hooks: Sequence[Hook] = (),
        steps_per_window: int = 10,
        keep_latest: int = 2,
        about: Mapping[str, Any] | None = None,
        started: float | None = None,
    ) -> None:
        self.trainer = trainer
        self.meta_steps = meta_steps
        self.meta_step = 0
        """Meta-steps that are done."""
        self.tally = Tally(started)
        self.validations = Validations()
        self.best_theta: Theta | None = None
        """On the host; None before the first validation that was finite."""
        self.last_save = 0
        """Meta-step of the newest checkpoint, which may be being written."""
        self._key, self._first_theta = key, theta
        self._hooks = tuple(hooks)
        self._about = dict(about or {})
        self._meta_state: MetaState | None = None
        self._loss = math.inf  # of the newest validation
        self._store = Store(epath.Path(folder) / CHECKPOINTS, keep_latest)
        self._saver = Saver(self._store, _tell_failure)
        self._began_at = 0
        self.windows = Windows(trainer, key, steps_per_window, meta_steps)
        """Of data that stream."""
        self._capacity = trainer.capacity()

    @property
    def state(self) -> RunState:
        """Exactly what a checkpoint holds; ``step`` gives its buffers away."""
        if self._meta_state is None:
            if not self._capacity.fits(self._memory(self.trainer.memory(self._first_theta))):
                self.compile()  # whose message takes temporaries into account
            self._meta_state = self.trainer.init(self._key, self._first_theta)
        theta = self._meta_state.theta
        return RunState(self._meta_state, theta if self.best_theta is None else self.best_theta)

    @property
    def theta(self) -> Theta:
        """The meta-parameters as they are to be used: their average, where one is kept."""
        meta_state = self.state.meta_state
        return averaged(meta_state.meta_opt_state, meta_state.theta)

    @property
    def unsaved(self) -> bool:
        """Whether this process has taken meta-steps that no checkpoint holds."""
        return self.meta_step > max(self._began_at, self._saver.saved or 0)

    def run_in(self) -> float:
        """How many meta-steps' work the next dispatch has first, to run the clocks in; about."""
        return run_in(self.state.meta_state.estimator_states)

    def compile(self) -> Memory:
        """Compile the next dispatch, if one is left; another thread may make ``state`` meanwhile.

        Returns:
            What it takes on each device.

        Raises:
            meta_train.capacity.TooLarge: more than was free when the run was made.
        """
        if self.meta_step >= self.meta_steps:
            return self._memory(self.trainer.memory(self._first_theta))
        memory = self._memory(self._next_trainer().compile(self._first_theta))
        if not self._capacity.fits(memory):
            raise self._capacity.error(memory)
        return memory

    def step(self) -> Records:
        """Take one dispatch of meta-steps, fewer than usual where fewer are left.

        Returns:
            What ``MetaTrainer.step`` does; hooks are told when the next dispatch has begun.

        Raises:
            ValueError: none are left.
            RunFailed: data that stream cannot be read.
        """
        self.tally.start()
        self._meta_state, records = self._next_trainer().step(self.state.meta_state)
        self.meta_step += len(records["meta_loss"])
        self._tell(self.tally.push(self.meta_step, records))
        return records

    def flush(self) -> None:
        """Wait for the newest dispatch, and tell hooks of it."""
        self._tell(self.tally.flush())

    def train(self, should_stop: Callable[[], bool] = lambda: False) -> None:
        """Take the meta-steps that are left; before each dispatch hooks do what is due.

        Args:
            should_stop: is asked once before every dispatch, and ends the training.

        Raises:
            RunFailed: see ``step`` and ``BadSteps``.
        """
        while not should_stop():
            for hook in self._hooks:
                hook.between(self)
            self._saver.poll()
            if self.meta_step >= self.meta_steps:
                break
            self.step()
        self.flush()
        jax.block_until_ready(self.state.meta_state)

    def validated(self, loss: float) -> bool:
        """Take note of a validation of ``theta``; the theta with the lowest loss is kept.

        Returns:
            Whether it is the lowest so far.
        """
        known, self._loss = self.validations, loss
        known.last_meta_step = self.meta_step
        best = math.isfinite(loss) and (known.best_loss is None or loss < known.best_loss)
        if best:
            known.best_loss, known.best_meta_step = loss, self.meta_step
            self.best_theta = jax.device_get(self.theta)  # the next meta-step overwrites it
        for hook in self._hooks:
            hook.validated(self, loss, best)
        return best

    def restore(self, start: Start | None = None) -> bool:
        """Resume from the newest whole checkpoint in the run's folder, or from ``start``.

        Returns:
            Whether there is one; where not, the run starts afresh.

        Raises:
            RunFailed: there are checkpoints, but all of them are damaged.
            checkpoints.MismatchError: they are of another run, by their arrays.
        """
        load = functools.partial(load_all, trainer=self.trainer)
        start = start or find(self._store, load)
        if start is None:
            return False
        self._meta_state = start.state.meta_state
        self.meta_step = self._began_at = start.number
        self.tally.restore(start.metadata["records"])
        if start.state.best_theta is not None:
            self.validations = Validations(**start.metadata["validation"])
            if self.validations.best_meta_step is not None:
                self.best_theta = jax.device_get(start.state.best_theta)
            self._saver.saved = start.number if start.own else None
        if start.own:
            self.last_save = start.number
            for hook in self._hooks:
                hook.restore(start.metadata["records"])
        return True

    def start_saving(self) -> None:
        """Start to write a checkpoint; returns as soon as the arrays are copied."""
        content = self.metadata()
        measured = self.validations.last_meta_step == self.meta_step and math.isfinite(self._loss)
        score = self._loss if measured else None
        self._saver.save(self.meta_step, self.state, content, score, self._persist)
        self.last_save = self.meta_step

    def save(self) -> None:
        """Make sure that the state is on disk.

        Raises:
            RunFailed: it cannot be written; the checkpoints before it are kept.
        """
        self._saver.wait()
        if self._saver.saved != self.meta_step:
            self.start_saving()
            self._saver.wait()
        if self._saver.saved != self.meta_step:
            raise RunFailed(
                f"the state after meta-step {self.meta_step} could not be saved in "
                f"{self._store.folder}; the message above tells why. The checkpoints before it are "
                "kept"
            )

    def metadata(self) -> dict[str, Any]:
        """What a checkpoint says now besides its arrays, as JSON."""
        self.flush()
        records = self.tally.snapshot()
        for hook in self._hooks:
            records |= hook.snapshot()
        return {
            **self._about,
            "meta_steps": self.meta_step,
            "versions": versions(_PACKAGES),
            "devices": {
                "count": self.trainer.devices.count,
                "kind": jax.devices()[0].device_kind,
                "processes": jax.process_count(),
            },
            "records": records,
            "validation": dataclasses.asdict(self.validations),
        }

    def close(self) -> None:
        """Wait for the newest checkpoint and for data, and close the hooks."""
        self._saver.close()
        self.windows.close()
        for hook in self._hooks:
            hook.close()

    def _persist(self) -> None:
        for hook in self._hooks:
            hook.persist()

    def _next_trainer(self) -> MetaTrainer:
        left = self.meta_steps - self.meta_step
        if left < 1:
            raise ValueError(
                f"All {self.meta_steps} meta-steps are done; restore into a Run of more meta_steps."
            )
        try:
            trainer = self.windows.at(self.meta_step)
        except OSError as error:
            raise RunFailed(
                f"the data of meta-step {self.meta_step + 1} cannot be read ({error}); the same "
                "command resumes from the newest checkpoint"
            ) from error
        left = min(left, self.windows.end(self.meta_step) - self.meta_step)
        if left >= trainer.steps_per_dispatch:
            return trainer
        return dataclasses.replace(trainer, steps_per_dispatch=left)

    def _memory(self, memory: Memory) -> Memory:
        return memory._replace(rest=memory.rest + self.windows.num_bytes)

    def _tell(self, records: Sequence[Record]) -> None:
        for hook in self._hooks if records else ():
            hook.recorded(self, records)


def _tell_failure(failure: str) -> None:
    print(f"checkpoint: {failure}; training continues", flush=True)
