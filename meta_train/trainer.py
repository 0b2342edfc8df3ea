"""The meta-step: estimate the meta-gradient on every system, update theta, once per call or more.

This is the one place where meta-training is compiled.
"""

import dataclasses
import functools
from collections.abc import Sequence

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array

from meta_train.types import (
    EstimatorState,
    GradientEstimator,
    MetaState,
    Theta,
    UnrolledSystem,
)

Records = dict[str, Array]


@dataclasses.dataclass(frozen=True)
class MetaTrainer:
    """Meta-training of one theta on one or several systems.

    Args:
        systems: unrolled systems that share theta.
        estimator: estimator of the meta-gradient; each system has its own state of it.
        meta_optimizer: any Optax optimizer for theta.
        weights: weight of each system in the meta-loss, scaled to sum to 1; None weighs all
            alike.
        steps_per_dispatch: meta-steps in one compiled call; above 1 where a meta-step is so
            short that starting it would show.

    Raises:
        ValueError: for no systems, or weights that do not fit them.

    Example:
        >>> trainer = MetaTrainer(systems, PES(1000, 20), optax.adam(1e-3))  # doctest: +SKIP
        >>> state = trainer.init(jax.random.key(0))  # doctest: +SKIP
        >>> state, records = trainer.step(state)  # doctest: +SKIP
    """

    systems: Sequence[UnrolledSystem]
    estimator: GradientEstimator
    meta_optimizer: optax.GradientTransformation
    weights: Sequence[float] | None = None
    steps_per_dispatch: int = 1

    def __post_init__(self) -> None:
        if not self.systems:
            raise ValueError("MetaTrainer needs at least one system.")
        if self.steps_per_dispatch < 1:
            raise ValueError(f"steps_per_dispatch = {self.steps_per_dispatch} must be at least 1.")
        weights = self.weights
        if weights is None:
            return
        if len(weights) != len(self.systems):
            raise ValueError(
                f"{len(weights)} weights for {len(self.systems)} systems; give one for each."
            )
        if min(weights) < 0 or not 0 < sum(weights) < float("inf"):
            raise ValueError(f"weights {tuple(weights)} must not be negative, nor all zero.")

    @property
    def shares(self) -> tuple[float, ...]:
        """Weight of each system; they sum to 1."""
        weights = self.weights or [1.0] * len(self.systems)
        return tuple(float(weight) / sum(weights) for weight in weights)

    def init(self, key: jax.Array, theta: Theta | None = None) -> MetaState:
        """The state before the first meta-step.

        Args:
            key: typed PRNG key of the whole run.
            theta: initial meta-parameters; None asks the first system for them.
        """
        key_theta, key_run = jax.random.split(key)
        if theta is None:
            theta = self.systems[0].init_theta(key_theta)
        return _init(tuple(self.systems), key_run, theta, self.estimator, self.meta_optimizer)

    def step(self, state: MetaState) -> tuple[MetaState, Records]:
        """Take ``steps_per_dispatch`` meta-steps; ``state`` is donated and must not be reused.

        Returns:
            The next state, and records with a leading axis ``steps_per_dispatch``: "meta_loss",
            "grad_norm", and the estimator's metrics (summed over systems where they count
            something, else averaged with the systems' weights).
        """
        return _steps(
            tuple(self.systems),
            state,
            self.estimator,
            self.meta_optimizer,
            self.shares,
            self.steps_per_dispatch,
        )


@functools.partial(jax.jit, static_argnames=("estimator", "meta_optimizer"))
def _init(
    systems: tuple[UnrolledSystem, ...],
    key: jax.Array,
    theta: Theta,
    estimator: GradientEstimator,
    meta_optimizer: optax.GradientTransformation,
) -> MetaState:
    key_estimators, key_run = jax.random.split(key)
    states = tuple(
        estimator.init(system, jax.random.fold_in(key_estimators, i), theta)
        for i, system in enumerate(systems)
    )
    # A copy, so that donating the state at the first step leaves the caller's theta alone.
    theta = jax.tree.map(jnp.copy, theta)
    return MetaState(jnp.zeros((), jnp.int32), key_run, theta, meta_optimizer.init(theta), states)


@functools.partial(
    jax.jit,
    static_argnames=("estimator", "meta_optimizer", "shares", "num_steps"),
    donate_argnames=("state",),
)
def _steps(
    systems: tuple[UnrolledSystem, ...],
    state: MetaState,
    estimator: GradientEstimator,
    meta_optimizer: optax.GradientTransformation,
    shares: tuple[float, ...],
    num_steps: int,
) -> tuple[MetaState, Records]:
    def meta_step(state: MetaState, _: None) -> tuple[MetaState, Records]:
        key = jax.random.fold_in(state.key, state.meta_step)
        grad, records, estimator_states = _weighted_estimate(
            systems, key, state.theta, state.estimator_states, estimator, shares
        )
        updates, meta_opt_state = meta_optimizer.update(grad, state.meta_opt_state, state.theta)
        theta = optax.apply_updates(state.theta, updates)
        next_state = MetaState(
            state.meta_step + 1, state.key, theta, meta_opt_state, estimator_states
        )
        return next_state, records

    return jax.lax.scan(meta_step, state, length=num_steps)


def _weighted_estimate(
    systems: tuple[UnrolledSystem, ...],
    key: jax.Array,
    theta: Theta,
    states: tuple[EstimatorState, ...],
    estimator: GradientEstimator,
    shares: tuple[float, ...],
) -> tuple[Theta, Records, tuple[EstimatorState, ...]]:
    """The weighted sum of all systems' meta-gradients, with records of it."""
    estimates, next_states = [], []
    for i, (system, state) in enumerate(zip(systems, states, strict=True)):
        estimate, next_state = estimator.estimate(system, jax.random.fold_in(key, i), theta, state)
        estimates.append(estimate)
        next_states.append(next_state)

    def average(*values: Array) -> Array:
        weighted = [share * value for share, value in zip(shares, values, strict=True)]
        return functools.reduce(jnp.add, weighted)

    grad = jax.tree.map(average, *[estimate.grad for estimate in estimates])
    records = {
        "meta_loss": average(*[estimate.loss for estimate in estimates]),
        "grad_norm": optax.tree.norm(grad),
    }
    for name in estimates[0].metrics:
        values = [estimate.metrics[name] for estimate in estimates]
        counts = jnp.issubdtype(values[0].dtype, jnp.integer)
        records[name] = functools.reduce(jnp.add, values) if counts else average(*values)
    return grad, records, tuple(next_states)
