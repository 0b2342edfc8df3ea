"""Meta-validation during a run, and the best theta by it."""

import math
from collections.abc import Mapping
from typing import Any

import jax

from launch.build import Experiment
from meta_train import evaluation


class Validator:
    """Measures theta without perturbation on seeds that training never sees.

    The seeds are the same each time, so that two values differ by their thetas alone.

    Args:
        experiment: systems, weights and horizon to measure on.
        key: typed PRNG key of the seeds.
        every_steps: meta-steps from one measurement to the next; 0 for none.
        num_seeds: episodes per system.
    """

    def __init__(
        self, experiment: Experiment, key: jax.Array, every_steps: int, num_seeds: int
    ) -> None:
        self._experiment = experiment
        self._key = key
        self._every_steps = every_steps
        self._num_seeds = num_seeds
        self.best_loss = math.inf
        self.best_meta_step: int | None = None
        self.best_theta: Any = None
        self.last_loss = math.inf
        self.last_meta_step = 0

    def due(self, meta_step: int, last: int) -> bool:
        """Whether to measure after ``meta_step``; ``last`` is the last of the run."""
        every, before = self._every_steps, self.last_meta_step
        if not every or meta_step == before:
            return False
        return meta_step // every > before // every or meta_step == last

    def measure(self, meta_step: int, theta: Any) -> tuple[float, bool]:
        """Mean loss per inner step of ``theta``, and whether it is the lowest so far.

        The best theta is copied to the host: the next meta-step overwrites its buffers.
        """
        experiment = self._experiment
        loss = evaluation.meta_validate(
            experiment.validation.systems,
            experiment.validation.shares,
            experiment.episodes,
            theta,
            self._key,
            self._num_seeds,
            experiment.trainer.devices,
            experiment.trainer.estimator.mean_over,
            experiment.validation.geometric,
        )
        self.last_loss, self.last_meta_step = loss, meta_step
        best = loss < self.best_loss
        if best:
            self.best_loss, self.best_meta_step = loss, meta_step
            self.best_theta = jax.device_get(theta)
        return loss, best

    def snapshot(self) -> dict[str, Any]:
        """What a checkpoint keeps, besides the best theta, as JSON."""
        return {
            "best_loss": self.best_loss if math.isfinite(self.best_loss) else None,
            "best_meta_step": self.best_meta_step,
            "last_meta_step": self.last_meta_step,
        }

    def restore(self, snapshot: Mapping[str, Any], best_theta: Any) -> None:
        """Go on from a snapshot."""
        self.last_meta_step = snapshot["last_meta_step"]
        if snapshot["best_meta_step"] is not None:
            self.best_loss, self.best_meta_step = snapshot["best_loss"], snapshot["best_meta_step"]
            self.best_theta = jax.device_get(best_theta)
