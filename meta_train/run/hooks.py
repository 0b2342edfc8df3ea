"""What happens between meta-steps: validation, checkpoints, profiles, and an end of bad runs."""

from collections.abc import Callable

import jax
from etils import epath

from meta_train.run.run import Hook, Run
from meta_train.run.staging import Staging
from meta_train.run.start import RunFailed
from meta_train.types import Theta


class Validation(Hook):
    """Judges theta every so often, on what training never sees.

    Args:
        measure: gives the loss of a theta; on the same episodes each time, two values differ by
            their thetas alone.
        every_steps: meta-steps from one measurement to the next, the last of a run is one; 0 for
            none.
    """

    def __init__(self, measure: Callable[[Theta], float], every_steps: int) -> None:
        self._measure = measure
        self._every_steps = every_steps

    def between(self, run: Run) -> None:
        """Validate if that is due; of a run that was stopped before it could be, it is."""
        if self.due(run):
            run.flush()
            loss = self._measure(run.theta)
            best = ", the best so far" if run.validated(loss) else ""
            print(
                f"meta-step {run.meta_step}  meta-validation: mean loss {loss:.4f} on fresh "
                f"seeds{best}",
                flush=True,
            )

    def due(self, run: Run) -> bool:
        """Whether to measure now."""
        every, before = self._every_steps, run.validations.last_meta_step
        if not every or run.meta_step == before:
            return False
        return run.meta_step // every > before // every or run.meta_step == run.meta_steps


class Checkpointing(Hook):
    """Saves a run every so often, at its end, and when its theta is the best so far.

    Args:
        every_steps: meta-steps from one checkpoint to the next; 0 for none besides those others.
    """

    def __init__(self, every_steps: int) -> None:
        self._every_steps = every_steps

    def between(self, run: Run) -> None:
        """Start to save if that is due."""
        if self.due(run):
            run.start_saving()

    def due(self, run: Run) -> bool:
        """Whether to save now."""
        if run.tally.bad_in_a_row:
            return False  # the last good checkpoint is to stay the newest
        if run.meta_step in (run.meta_steps, run.validations.best_meta_step):
            return run.meta_step != run.last_save
        every = self._every_steps
        return bool(every) and run.meta_step // every > run.last_save // every


class BadSteps(Hook):
    """Ends a run in which nothing changes any more.

    Args:
        max_in_a_row: meta-steps that may be skipped one after the other, see ``MetaTrainer``.
    """

    def __init__(self, max_in_a_row: int) -> None:
        self._max_in_a_row = max_in_a_row

    def between(self, run: Run) -> None:
        """Look at the newest records.

        Raises:
            RunFailed: too many meta-steps were skipped.
        """
        bad = run.tally.bad_in_a_row
        if bad >= self._max_in_a_row:
            raise RunFailed(
                f"the last {bad} meta-steps before meta-step {run.meta_step} changed nothing: "
                "their meta-loss or meta-gradient was not finite, or its norm above max_grad_norm "
                f"= {run.trainer.max_grad_norm}. The last good checkpoint is kept; a smaller "
                "learning rate of the meta-optimizer or std of the estimator may help"
            )


class Profile(Hook):
    """Traces a window of meta-steps with ``jax.profiler``, and says how to look at it.

    Dispatches are traced whole. A run that resumes within the window traces the rest of it.

    Args:
        folder: receives the trace.
        first: meta-step with which the window begins; the first of a run is 1.
        last: meta-step with which it ends.
    """

    def __init__(self, folder: epath.PathLike, first: int, last: int) -> None:
        self._folder = folder
        self._first, self._last = first, last
        self._tracing: Staging | None = None

    def between(self, run: Run) -> None:
        """Start or stop the trace if that is due."""
        dispatched = run.meta_step + run.trainer.steps_per_dispatch
        within = dispatched >= self._first and run.meta_step < self._last
        if within == (self._tracing is not None):
            return
        jax.block_until_ready(run.state.meta_state)  # a dispatch is either traced whole or not
        if within:
            self._tracing = Staging(self._folder)
            jax.profiler.start_trace(self._tracing.folder)
        else:
            self.close()

    def close(self) -> None:
        """Stop the trace, if one was begun."""
        if self._tracing is None:
            return
        staging, self._tracing = self._tracing, None
        try:
            jax.profiler.stop_trace()
            staging.persist()
        except OSError as error:
            print(f"profile: it cannot be written ({error.strerror or error})", flush=True)
        else:
            print(
                f"profile: `pip install xprof`, then `xprof --logdir={self._folder}`; or open the "
                f".trace.json.gz below {self._folder} at https://ui.perfetto.dev",
                flush=True,
            )
        staging.close()
