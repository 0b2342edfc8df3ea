"""Two parameters of the Lorenz system: a meta-loss that is rugged because the system is chaotic.

Neighbouring trajectories part by a factor of some thousands within an episode. The loss at a theta
then says little about its surroundings, and exact derivatives nothing; its mean over perturbations
is smooth, and evolution strategies descend on that. All methods are judged by it, so that nobody
gains by a lucky theta.

Settings are those of [1], with Adam in the place of gradient descent; the numbers that are expected
are from this code.

[1] Li, Harrison, Sohl-Dickstein, Smith and Metz, "Variance-Reduced Gradient Estimation via
    Noise-Reuse in Online Evolution Strategies", NeurIPS 2023, arXiv:2304.12180.
"""

import dataclasses
from collections.abc import Sequence
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, Float

from meta_train.estimators.bptt import BPTT
from meta_train.estimators.nres import NRES
from meta_train.estimators.pes import PES
from meta_train.estimators.rtrl import RTRL
from meta_train.estimators.truncated_bptt import TruncatedBPTT
from meta_train.estimators.truncated_es import TruncatedES
from meta_train.experiments import curves
from meta_train.experiments.comparison import Below, Comparison, Expected, Method
from meta_train.experiments.experiment import Experiment, Outcome, Part
from meta_train.experiments.surface import Axis, Surface
from meta_train.experiments.unrolled import unrolled
from meta_train.particles import Execution
from meta_train.systems.lorenz import Lorenz
from meta_train.types import Theta, UnrolledSystem

_T, _K, _STD = 2000, 100, 0.04
_PERTURBATIONS = 32
_MEASURE = "mean squared distance"


def _loss(system: UnrolledSystem, theta: Theta) -> Float[Array, ""]:
    return jnp.mean(unrolled(system, theta, _T))


def _smoothed(system: UnrolledSystem, theta: Theta) -> Float[Array, ""]:
    """The mean of ``_loss`` over perturbations, the same ones each time."""
    flat, unravel = ravel_pytree(theta)
    noise = _STD * jax.random.normal(jax.random.key(0), (_PERTURBATIONS, len(flat)))
    return jnp.mean(jax.vmap(lambda x: _loss(system, unravel(flat + x)))(noise))


@dataclasses.dataclass(frozen=True)
class _Plan(Comparison):
    """The comparison on the smoothed loss, and the surface of the loss itself."""

    def parts(self) -> Sequence[Part]:
        rugged = Comparison.parts(dataclasses.replace(self, judge=_loss))[-1]
        return [*super().parts(), rugged._replace(label="surface, not smoothed")]

    def outcome(self, name: str, values: Sequence[Any]) -> Outcome:
        found = super().outcome(name, values[:-1])
        assert self.surface is not None
        grid = curves.numbers(values[-1])
        rugged = self.surface.draw(f"{name}_not_smoothed", grid, {}, (), _MEASURE, ())
        tables = {**found.tables, "surface_not_smoothed": self.surface.table(grid)}
        return found._replace(tables=tables, panels=[*found.panels, rugged])


def _plan(num_pairs: int, meta_steps: int, num_seeds: int, grid: int) -> Comparison:
    estimators = {
        "nres": NRES(_T, _K, num_pairs=num_pairs, std=_STD),
        "pes": PES(_T, _K, num_pairs=num_pairs, std=_STD),
        "truncated_es": TruncatedES(_T, _K, num_pairs=num_pairs, std=_STD),
        "truncated_bptt": TruncatedBPTT(_T, _K, num_particles=2 * num_pairs),
        "bptt": BPTT(_T, num_particles=2 * num_pairs * _K // _T),
        "rtrl": RTRL(_T, _K, num_particles=2 * num_pairs),
    }
    return _Plan(
        system=Lorenz(),
        judge=_smoothed,
        measure=f"{_MEASURE}, smoothed",
        methods={x: Method(y, "adam", 3e-3) for x, y in estimators.items()},
        meta_steps=meta_steps,
        num_seeds=num_seeds,
        expected=(
            Expected("nres", 45.0, 62.0),
            Below("nres", "pes"),
            Below("nres", "bptt"),
            Below("nres", "rtrl"),
        ),
        execution=Execution("parallel"),
        num_points=25,
        surface=Surface(
            Axis("log of a", 0, 1.8, 2.5, grid),
            Axis("log of r", 1, 2.83, 3.53, grid),
            lowest=30.0,
            highest=150.0,
            at_once=grid,
        ),
    )


EXPERIMENT = Experiment(
    summary="two parameters of the chaotic Lorenz system: exact derivatives are lost, smoothed "
    "losses are not",
    presets={"quick": partial(_plan, 50, 500, 3, 60), "full": partial(_plan, 200, 2000, 5, 200)},
)
