"""Hyperparameters as meta-parameters: SGD and Adam with a learned learning-rate schedule.

    constant       lr_t = e^a
    linear         lr_t = (1 - t/T) e^a + (t/T) e^b          (t/T stays at 1 after the horizon T)
    inverse_time   lr_t = e^a / (1 + t / time_scale)^(e^b)

Momentum and decays are learned through their logits. With the initial theta and a constant
schedule the two rules are ``optax.sgd`` and ``optax.adam``, up to rounding.

References:
    [1] Vicol, Metz & Sohl-Dickstein 2021, "Unbiased gradient estimation in unrolled computation
        graphs with Persistent Evolution Strategies", https://arxiv.org/abs/2112.13835
        (learning-rate schedules of the toy problem and of the MNIST experiment)
"""

import dataclasses
import difflib
import math
from typing import Any, ClassVar, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from lopt import transform
from lopt.base import LearnedOptimizer, NumSteps, StepInputs, Theta

SCHEDULES = ("constant", "linear", "inverse_time")


class SGDScheduleState(NamedTuple):
    """State of ``sgd_schedule``."""

    count: Int[Array, ""]  # pyright: ignore[reportIncompatibleMethodOverride]
    trace: Any
    """Tree like the parameters with float32 leaves; ``()`` without momentum."""


class AdamScheduleState(NamedTuple):
    """State of ``adam_schedule``; ``mu`` and ``nu`` are like the parameters, in float32."""

    count: Int[Array, ""]  # pyright: ignore[reportIncompatibleMethodOverride]
    mu: Any
    nu: Any


@dataclasses.dataclass(frozen=True)
class SGDSchedule(LearnedOptimizer):
    """Gradient descent with momentum and a learned schedule.

    Attributes:
        schedule: "constant", "linear" or "inverse_time".
        learning_rate: initial e^a (and e^b of a linear schedule).
        momentum: initial momentum in [0, 1).
        learn_momentum: whether the momentum's logit is a meta-parameter; needs a momentum > 0.
        decay: initial exponent e^b of an inverse-time schedule.
        time_scale: inner steps after which an inverse-time schedule begins to fall.
    """

    needs_params: ClassVar[bool] = False

    schedule: str = "constant"
    learning_rate: float = 0.01
    momentum: float = 0.9
    learn_momentum: bool = True
    decay: float = 1.0
    time_scale: float = 5000.0

    def __post_init__(self) -> None:
        _check_schedule(self)
        _check_fraction("momentum", self.momentum, positive=self.learn_momentum)

    @property
    def needs_num_steps(self) -> bool:
        return self.schedule == "linear"

    def init(self, key: jax.Array) -> Theta:
        """The fields' values as meta-parameters; nothing is random."""
        del key
        theta = _init_schedule(self)
        if self.learn_momentum:
            theta["momentum_logit"] = _logit(self.momentum)
        return theta

    def init_state(self, theta: Theta, params: Any) -> SGDScheduleState:
        trace = transform.zeros_like(params) if self.momentum > 0 else ()
        return SGDScheduleState(transform.zero_count(), trace)

    def step(
        self, theta: Theta, state: SGDScheduleState, inputs: StepInputs
    ) -> tuple[Any, SGDScheduleState]:
        rate = _learning_rate(self, theta, state.count, inputs.num_steps)
        direction, trace = inputs.grads, state.trace
        if self.momentum > 0:
            momentum = self.momentum
            if self.learn_momentum:
                momentum = jax.nn.sigmoid(theta["momentum_logit"])
            trace = jax.tree.map(lambda g, m: g + momentum * m, inputs.grads, state.trace)
            direction = trace
        steps = jax.tree.map(lambda d: -rate * d, direction)
        return steps, SGDScheduleState(transform.increment(state.count), trace)


@dataclasses.dataclass(frozen=True)
class AdamSchedule(LearnedOptimizer):
    """Adam with a learned schedule and learned decays.

    Attributes:
        schedule: "constant", "linear" or "inverse_time".
        learning_rate: initial e^a (and e^b of a linear schedule).
        b1: initial decay of the gradient's average, in (0, 1).
        b2: initial decay of the squared gradient's average, in (0, 1).
        eps: added to the root of the second moment.
        decay: initial exponent e^b of an inverse-time schedule.
        time_scale: inner steps after which an inverse-time schedule begins to fall.
    """

    needs_params: ClassVar[bool] = False

    schedule: str = "constant"
    learning_rate: float = 0.001
    b1: float = 0.9
    b2: float = 0.999
    eps: float = 1e-8
    decay: float = 1.0
    time_scale: float = 5000.0

    def __post_init__(self) -> None:
        _check_schedule(self)
        _check_fraction("b1", self.b1, positive=True)
        _check_fraction("b2", self.b2, positive=True)

    @property
    def needs_num_steps(self) -> bool:
        return self.schedule == "linear"

    def init(self, key: jax.Array) -> Theta:
        """The fields' values as meta-parameters; nothing is random."""
        del key
        logits = {"b1_logit": _logit(self.b1), "b2_logit": _logit(self.b2)}
        return _init_schedule(self) | logits

    def init_state(self, theta: Theta, params: Any) -> AdamScheduleState:
        mu, nu = transform.zeros_like(params), transform.zeros_like(params)
        return AdamScheduleState(transform.zero_count(), mu, nu)

    def step(
        self, theta: Theta, state: AdamScheduleState, inputs: StepInputs
    ) -> tuple[Any, AdamScheduleState]:
        rate = _learning_rate(self, theta, state.count, inputs.num_steps)
        count = transform.increment(state.count)
        mu, mu_scale = _debiased(inputs.grads, state.mu, theta["b1_logit"], count)
        squares = jax.tree.map(jnp.square, inputs.grads)
        nu, nu_scale = _debiased(squares, state.nu, theta["b2_logit"], count)

        def step_leaf(m: jax.Array, v: jax.Array) -> jax.Array:
            return -rate * m * mu_scale / (jnp.sqrt(v * nu_scale) + self.eps)

        return jax.tree.map(step_leaf, mu, nu), AdamScheduleState(count, mu, nu)


def _debiased(
    new: Any, old: Any, logit: jax.Array, count: jax.Array
) -> tuple[Any, Float[Array, ""]]:
    """Next moving averages, and the factor 1 / (1 - decay^count) that makes them unbiased."""
    # sigmoid(-x) is 1 - decay without the cancellation; so is expm1 in the correction.
    rate = jax.nn.sigmoid(-logit)
    averages = jax.tree.map(lambda x, m: (1.0 - rate) * m + rate * x, new, old)
    correction = -jnp.expm1(count.astype(jnp.float32) * jax.nn.log_sigmoid(logit))
    return averages, 1.0 / correction


def _init_schedule(rule: SGDSchedule | AdamSchedule) -> dict[str, jax.Array]:
    log_rate = jnp.asarray(math.log(rule.learning_rate), jnp.float32)
    if rule.schedule == "constant":
        return {"log_learning_rate": log_rate}
    if rule.schedule == "linear":
        return {"log_initial_learning_rate": log_rate, "log_final_learning_rate": log_rate}
    log_decay = jnp.asarray(math.log(rule.decay), jnp.float32)
    return {"log_learning_rate": log_rate, "log_decay": log_decay}


def _learning_rate(
    rule: SGDSchedule | AdamSchedule, theta: Theta, count: jax.Array, num_steps: NumSteps
) -> Float[Array, ""]:
    if rule.schedule == "constant":
        return jnp.exp(theta["log_learning_rate"])
    if rule.schedule == "linear":
        fraction = jnp.minimum(transform.progress(count, num_steps), 1.0)
        first = jnp.exp(theta["log_initial_learning_rate"])
        last = jnp.exp(theta["log_final_learning_rate"])
        return (1.0 - fraction) * first + fraction * last
    log_fall = jnp.exp(theta["log_decay"]) * jnp.log1p(count.astype(jnp.float32) / rule.time_scale)
    return jnp.exp(theta["log_learning_rate"] - log_fall)


def _logit(x: float) -> jax.Array:
    return jnp.asarray(math.log(x) - math.log1p(-x), jnp.float32)


def _check_schedule(rule: SGDSchedule | AdamSchedule) -> None:
    if rule.schedule not in SCHEDULES:
        near = difflib.get_close_matches(str(rule.schedule), SCHEDULES, 1, 0.0)[0]
        raise ValueError(
            f"schedule = {rule.schedule!r} is none of {SCHEDULES}; did you mean {near!r}?"
        )
    for field in ("learning_rate", "decay", "time_scale"):
        number = getattr(rule, field)
        if not 0 < number < math.inf:
            raise ValueError(f"{field} = {number} must be positive and finite.")


def _check_fraction(field: str, number: float, *, positive: bool) -> None:
    if not (0 < number < 1 or (number == 0 and not positive)):
        bounds = "above 0 and below 1, because its logit is learned" if positive else "in [0, 1)"
        raise ValueError(f"{field} = {number} must be {bounds}.")
