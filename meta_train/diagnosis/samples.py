"""Measured runs of every setting, kept in a folder where there is one."""

import dataclasses
import time
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from meta_train.diagnosis.plan import (
    REFERENCE,
    Plan,
    Scaled,
    Setting,
    truncations,
    with_pairs,
)
from meta_train.evaluation import identity
from meta_train.evaluation.result_store import Arrays, Store
from meta_train.types import GradientEstimator, Theta, UnrolledSystem
from meta_train.variance import sample_runs

_MOST_NUMBERS = 5e7
"""Of all gradients of one setting."""


class Gradients(NamedTuple):
    """What was measured of one setting."""

    means: Float[np.ndarray, "runs P"]
    """Of every run over its meta-steps, which are at least one episode."""
    squared_norms: Float[np.ndarray, " runs"]
    """Of one meta-step's estimate."""
    seconds: Float[np.ndarray, " times"]
    """Of one meta-step of one antithetic pair, at the rate of all devices together."""
    inner_steps: float
    """Of one meta-step of one pair."""
    diverged: int
    """Particles dropped."""


@dataclasses.dataclass
class Samples:
    """Runs of every setting so far.

    Args:
        system: what is unrolled.
        estimators: by name, see ``plan.fixed``.
        theta: at which all is measured.
        plan: how much.
    """

    system: UnrolledSystem
    estimators: Mapping[str, GradientEstimator]
    theta: Theta
    plan: Plan
    spent: float = 0.0
    """Seconds that measuring has taken, also before the call was stopped and started again."""
    _blocks: dict[tuple[Setting, bool], list[Arrays]] = dataclasses.field(default_factory=dict)

    def __post_init__(self) -> None:
        self._store = Store([] if self.plan.folder is None else [self.plan.folder])
        self._what = {
            "system": fingerprint(self.system, self.theta),
            "devices": self.plan.devices.count,
            "seed": self.plan.seed,
            "versions": identity.run_versions(),
            "machine": identity.machine(),
        }

    def kept(self, key: Mapping[str, Any], measure: Callable[[], Arrays]) -> Arrays:
        """What the folder has for ``key``, or what ``measure`` now returns; counts its time."""
        key = {**self._what, **key}
        found = self._store.load_arrays(key)
        if found is None:
            started = time.monotonic()
            found = measure()
            found["spent"] = np.asarray(time.monotonic() - started)
            self._store.save_arrays(key, found)
        self.spent += float(found.pop("spent"))
        return found

    def count(self, setting: Setting, fresh: bool = False) -> int:
        """Runs measured."""
        return self.plan.runs_at_once * len(self._blocks.get((setting, fresh), ()))

    def can_grow(self, setting: Setting, fresh: bool = False) -> bool:
        """Whether more runs of it may be measured."""
        size = sum(leaf.size for leaf in jax.tree.leaves(self.theta))
        most = min(self.plan.most_runs, _MOST_NUMBERS / max(size, 1))
        return self.count(setting, fresh) < most

    def add(self, setting: Setting, fresh: bool = False) -> None:
        """Measure some more runs.

        Args:
            setting: what is measured.
            fresh: measure runs of their own, that the choice of the setting does not depend on.
        """
        blocks = self._blocks.setdefault((setting, fresh), [])
        estimator = with_pairs(
            self.estimators[setting.name], setting, num_pairs=self.plan.devices.count
        )
        key = {
            "kind": "runs",
            "estimator": repr(estimator),
            "std_factor": setting.std_factor,
            "runs": self.plan.runs_at_once,
            "block": len(blocks),
            "fresh": fresh,
            "reference": self._is_reference(setting),
        }
        blocks.append(self.kept(key, lambda: self._measure(setting, estimator, fresh, len(blocks))))

    def of(self, setting: Setting, fresh: bool = False) -> Gradients:
        """All that was measured of a setting."""
        blocks = self._blocks[setting, fresh]
        means, squared_norms, seconds = (
            np.concatenate([np.asarray(block[name], np.float64) for block in blocks])
            for name in ("means", "squared_norms", "seconds")
        )
        inner_steps, diverged = np.sum([block["counts"] for block in blocks], axis=0)
        pairs, runs = self.plan.devices.count, len(means)
        meta_steps = self.meta_steps(setting)
        return Gradients(
            means, squared_norms, seconds / pairs, float(inner_steps) / (runs * meta_steps * pairs),
            int(diverged),
        )  # fmt: skip

    def meta_steps(self, setting: Setting) -> int:
        """Of one run: an episode, and at least two, of which one is timed."""
        return max(2, round(self.truncations(setting)))

    def truncations(self, setting: Setting) -> float:
        """E[ceil(T / K)], meta-steps of an episode."""
        return truncations(with_pairs(self.estimators[setting.name], setting, 1))

    @property
    def reference(self) -> Setting:
        """Full ES with the first estimator's own sigma."""
        return Setting(REFERENCE, self.estimators[REFERENCE].steps_per_truncation)

    def _is_reference(self, setting: Setting) -> bool:
        return setting == self.reference

    def _measure(
        self, setting: Setting, estimator: GradientEstimator, fresh: bool, block: int
    ) -> Arrays:
        # All settings see the same episodes, so that they differ by themselves; the reference is
        # independent of them, so that its scalar products with them are without bias.
        use = 2 * self._is_reference(setting) + fresh
        key = jax.random.fold_in(jax.random.fold_in(jax.random.key(self.plan.seed), use), block)
        factor = setting.std_factor
        runs = sample_runs(
            Scaled(self.system, self.theta, jnp.float32(factor)),
            estimator,
            key,
            jax.tree.map(jnp.zeros_like, self.theta),
            num_runs=self.plan.runs_at_once,
            meta_steps=self.meta_steps(setting),
            runs_at_once=self.plan.runs_at_once,
            devices=self.plan.devices,
            execution=self.plan.execution,
        )
        return {
            "means": np.asarray(runs.means / factor, np.float32),
            "squared_norms": runs.squared_norms / factor**2,
            "seconds": runs.seconds,
            "counts": np.asarray([runs.inner_steps, runs.diverged], np.float64),
        }


def fingerprint(system: UnrolledSystem, theta: Theta) -> str:
    """SHA-256 of what a system computes, of its data and of theta."""

    def program(subject: tuple[UnrolledSystem, Theta], key: jax.Array) -> Any:
        system, theta = subject
        return system.step(key, theta, system.init(key, theta, jnp.int32(1)))

    subject = jax.tree.map(jnp.asarray, (system, theta))
    return identity.program_digest(program, subject)
