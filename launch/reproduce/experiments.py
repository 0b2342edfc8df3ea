"""The experiments: systems, the estimators that are compared on them, and what is expected.

All methods of an experiment take the same number of inner steps in every meta-step, so that equal
meta-steps are equal budgets. Expected values are those of the paper [1] and of its successors where
these give any, or of runs of the same problem by other code; docs/reproduction.md says which.

[1] Vicol, Metz and Sohl-Dickstein, "Unbiased Gradient Estimation in Unrolled Computation Graphs
    with Persistent Evolution Strategies", ICML 2021, arXiv:2112.13835.
"""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float

from meta_train import (
    ES,
    NRES,
    PES,
    RTRL,
    SYSTEMS,
    UORO,
    GradientEstimator,
    TruncatedBPTT,
    TruncatedES,
    UnrolledSystem,
)
from meta_train.types import Theta


class Method(NamedTuple):
    """An estimator with the meta-optimizer that follows it."""

    estimator: GradientEstimator
    optimizer: str
    """In Optax."""
    learning_rate: float

    def make_optimizer(self) -> optax.GradientTransformation:
        """The meta-optimizer."""
        return getattr(optax, self.optimizer)(self.learning_rate)


class Preset(NamedTuple):
    """How much of an experiment is run."""

    meta_steps: int
    num_seeds: int


class Expected(NamedTuple):
    """Where the losses of a method are at the end, with every seed."""

    method: str
    low: float
    high: float


@dataclasses.dataclass(frozen=True)
class Experiment:
    """One experiment.

    Attributes:
        summary: what it shows, in a line.
        system: what is unrolled.
        judge: loss of a theta, without perturbation.
        measure: what ``judge`` returns, for the figure.
        methods: by name.
        presets: "quick", which shows the effect within minutes on two cores, and "full".
        expected: at the end of either.
    """

    summary: str
    system: UnrolledSystem
    judge: Callable[[UnrolledSystem, Theta], Float[Array, ""]]
    measure: str
    methods: Mapping[str, Method]
    presets: Mapping[str, Preset]
    expected: Sequence[Expected]


def unrolled(system: UnrolledSystem, theta: Theta, num_steps: int) -> Float[Array, " T"]:
    """The losses of a whole unroll at one theta."""
    key, horizon = jax.random.key(0), jnp.int32(num_steps)

    def step(state: Any, key: jax.Array) -> tuple[Any, Array]:
        return system.step(key, theta, state)

    start = system.init(key, theta, horizon)
    return jax.lax.scan(step, start, jax.random.split(key, num_steps))[1]


def _balancing(estimator: GradientEstimator, learning_rate: float = 1e-4) -> Method:
    return Method(estimator, "sgd", learning_rate)


def _schedule(estimator: GradientEstimator) -> Method:
    return Method(estimator, "adam", 1e-2)


EXPERIMENTS: dict[str, Experiment] = {
    "influence_balancing": Experiment(
        summary="a linear system whose near past has the wrong sign: truncation diverges, PES "
        "goes the way of RTRL",
        system=SYSTEMS["influence_balancing"](),
        judge=lambda system, theta: unrolled(system, theta, 500)[-1],
        measure="loss after 500 inner steps",
        methods={
            "pes": _balancing(PES(None, 1, num_pairs=500, std=0.1)),
            "rtrl": _balancing(RTRL(None, 1, num_particles=1000)),
            "uoro": _balancing(UORO(None, 1, num_particles=1000), 1e-5),
            "truncated_es": _balancing(TruncatedES(None, 1, num_pairs=500, std=0.1)),
            "truncated_bptt, K = 1": _balancing(TruncatedBPTT(None, 1, num_particles=1000)),
            "truncated_bptt, K = 10": _balancing(TruncatedBPTT(None, 10, num_particles=100)),
        },
        presets={"quick": Preset(1000, 3), "full": Preset(3000, 10)},
        expected=(
            Expected("pes", 0.0, 1e-3),
            Expected("rtrl", 0.0, 1e-4),
            Expected("uoro", 0.0, 6.0),
            Expected("truncated_es", 15.0, 300.0),
            Expected("truncated_bptt, K = 1", 15.0, 300.0),
            Expected("truncated_bptt, K = 10", 15.0, float("inf")),
        ),
    ),
    "toy_regression": Experiment(
        summary="a learning-rate schedule in a rugged landscape: derivatives and truncations are "
        "stuck, PES finds it",
        system=SYSTEMS["toy_regression"](),
        judge=lambda system, theta: jnp.sum(unrolled(system, theta, 100)),
        measure="sum of the losses of 100 inner steps",
        methods={
            "pes": _schedule(PES(100, 10, num_pairs=50, std=0.3)),
            "nres": _schedule(NRES(100, 10, num_pairs=50, std=0.3)),
            "es": _schedule(ES(100, num_pairs=5, std=0.3)),
            "rtrl": _schedule(RTRL(100, 10, num_particles=100)),
            "truncated_es": _schedule(TruncatedES(100, 10, num_pairs=50, std=1.0)),
            "truncated_bptt": _schedule(TruncatedBPTT(100, 10, num_particles=100)),
        },
        presets={"quick": Preset(2000, 3), "full": Preset(20_000, 10)},
        expected=(
            Expected("pes", 555.0, 580.0),
            Expected("nres", 555.0, 600.0),
            Expected("rtrl", 2300.0, 2490.0),
            Expected("truncated_es", 900.0, 2200.0),
            Expected("truncated_bptt", 2300.0, 2490.0),
        ),
    ),
}
"""Registry of experiments by name."""
