"""29 hyperparameters of an MLP: evolution strategies and random search on equal inner steps.

``full`` has the network, data, horizon and particles of [1], for a GPU; ``quick`` the digits of
scikit-learn, a narrower network, smaller batches, T = 500 and twice the particles. Expected: as in
[1], where ES-Single, which is NRES, is the best of the four.

[1] Vicol, Kolter and Swersky, "Low-Variance Gradient Estimation in Unrolled Computation Graphs
    with ES-Single", ICML 2023, arXiv:2304.11153.
"""

import dataclasses
from collections.abc import Sequence
from functools import partial
from typing import Any

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from meta_train.estimators.nres import NRES
from meta_train.estimators.pes import PES
from meta_train.estimators.truncated_es import TruncatedES
from meta_train.experiments import curves, random_search
from meta_train.experiments.comparison import Below, Comparison, Method
from meta_train.experiments.experiment import Experiment, Outcome, Part, Plan, Table
from meta_train.experiments.unrolled import episodes
from meta_train.particles import Execution
from meta_train.systems.many_hyperparameters import many_hyperparameters
from meta_train.types import Theta, UnrolledSystem

_K = 10
_STD = 0.3
_RANDOM = "random search"


@dataclasses.dataclass(frozen=True)
class _Plan(Plan):
    """The comparison of estimators, and random search beside it.

    Attributes:
        comparison: the meta-trainings.
        horizon: T.
    """

    comparison: Comparison
    horizon: int

    @property
    def inner_steps(self) -> np.ndarray:
        """At which thetas are judged; of all particles together, the same for every method."""
        (each,) = {method.inner_steps for method in self.comparison.methods.values()}
        return self.comparison.measured_at * each

    def parts(self) -> Sequence[Part]:
        return [*self.comparison.parts(), *map(self._part, range(self.comparison.num_seeds))]

    def outcome(self, name: str, values: Sequence[Any]) -> Outcome:
        ours, at = self.comparison, self.inner_steps
        runs, searched = values[: -ours.num_seeds], values[-ours.num_seeds :]
        found = {**ours.found(runs), _RANDOM: curves.numbers(searched)}
        best = {x: np.fmin.accumulate(y, axis=1) for x, y in found.items()}
        rows = [
            (name, label, seed, steps, f"{value:.6g}", f"{least:.6g}")
            for label, present in found.items()
            for seed, pair in enumerate(zip(present, best[label], strict=True))
            for steps, value, least in zip(at, *pair, strict=True)
        ]
        columns = ("experiment", "method", "seed", "inner_steps", "value", "best_so_far")
        solid = [*(x for x, y in ours.methods.items() if y.estimator.unbiased), _RANDOM]
        panels = [
            curves.draw(file, drawn, at, measure, solid, over="inner steps of all particles")
            for file, drawn, measure in (
                (name, best, f"best {ours.measure} so far"),
                (f"{name}_present", found, ours.measure),
            )
        ]
        findings = [x.finding(best) for x in ours.expected]
        return Outcome({"results": Table(columns, rows)}, panels, findings)

    def _part(self, seed: int) -> Part:
        def compute() -> Any:
            return curves.plain(
                random_search.best_so_far(
                    self.comparison.system,
                    lambda theta: self.comparison.judge(self.comparison.system, theta),
                    self.horizon,
                    self.inner_steps,
                    seed,
                )
            )

        def brief(values: Any) -> str:
            return f"{float(curves.numbers(values)[-1]):.4g}"

        key = {
            **self.comparison.system_identity,
            "random_search": self.inner_steps.tolist(),
            "horizon": self.horizon,
            "seed": seed,
        }
        return Part(f"{_RANDOM}, seed {seed}", key, compute, brief)


def _plan(
    horizon: int, num_pairs: int, learning_rate: float, system: dict[str, Any], **others: Any
) -> _Plan:
    def judge(system: UnrolledSystem, theta: Theta) -> Float[Array, ""]:
        return jnp.mean(episodes(system, theta, horizon, 4))

    estimators = {
        "nres": NRES(horizon, _K, num_pairs=num_pairs, std=_STD),
        "pes": PES(horizon, _K, num_pairs=num_pairs, std=_STD),
        "truncated_es": TruncatedES(horizon, _K, num_pairs=num_pairs, std=_STD),
    }
    comparison = Comparison(
        system=many_hyperparameters(**system),
        judge=judge,
        measure="mean validation loss",
        methods={x: Method(y, "adam", learning_rate) for x, y in estimators.items()},
        expected=tuple(Below("nres", x) for x in ("pes", "truncated_es", _RANDOM)),
        num_points=25,
        execution=Execution("parallel"),
        **others,
    )
    return _Plan(comparison, horizon)


_SMALL = {"dataset": "digits", "width": 32, "batch_size": 16}
_WHOLE = {"dataset": "fashion_mnist", "width": 100, "batch_size": 100}

EXPERIMENT = Experiment(
    summary="29 hyperparameters of an MLP: NRES is the best of evolution strategies and random "
    "search at equal inner steps",
    presets={
        "quick": partial(_plan, 500, 10, 2e-2, _SMALL, meta_steps=1000, num_seeds=3),
        "full": partial(_plan, 1000, 5, 1e-2, _WHOLE, meta_steps=50_000, num_seeds=4),
    },
)
