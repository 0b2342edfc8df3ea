"""Horizons: how many inner steps T an episode has.

A horizon may be constant, random, scheduled over meta-steps, or without end. Besides drawing T, it
knows the two expectations that make truncated estimates unbiased: E[T] inner steps, and
E[ceil(T / K)] truncations of K inner steps in an episode.
"""

import abc
import dataclasses
import math
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int


@dataclasses.dataclass(frozen=True)
class Horizon(abc.ABC):
    """Distribution of the episode length T, in inner steps."""

    @property
    @abc.abstractmethod
    def max(self) -> int:
        """The longest possible episode; ``ENDLESS`` where episodes never end."""

    @abc.abstractmethod
    def is_ragged(self, truncation_length: int) -> bool:
        """Whether some episode ends inside a truncation of this length K."""

    @abc.abstractmethod
    def sample(self, key: jax.Array, meta_step: Int[Array, ""]) -> Int[Array, ""]:
        """Draw T for an episode that starts at ``meta_step``."""

    @abc.abstractmethod
    def sample_running(self, key: jax.Array, truncation_length: int) -> Int[Array, ""]:
        """Draw T of the episode that is under way at the first meta-step.

        A long episode is met in proportion to its number of truncations, so T is drawn with
        probability proportional to P(T) ceil(T / K) (the inspection paradox of renewal theory).
        """

    @abc.abstractmethod
    def mean(self, meta_step: Int[Array, ""]) -> Float[Array, ""] | float:
        """E[T] at ``meta_step``, in inner steps."""

    @abc.abstractmethod
    def mean_truncations(
        self, truncation_length: int, meta_step: Int[Array, ""]
    ) -> Float[Array, ""] | float:
        """E[ceil(T / K)] at ``meta_step``, in truncations."""


ENDLESS = np.iinfo(np.int32).max
"""T of an episode that never ends, as systems and rules are told it."""


@dataclasses.dataclass(frozen=True)
class EndlessHorizon(Horizon):
    """Episodes never end; J is the loss per inner step of the truncations seen so far."""

    @property
    def max(self) -> int:
        return ENDLESS

    def is_ragged(self, truncation_length: int) -> bool:
        del truncation_length
        return False

    def sample(self, key: jax.Array, meta_step: Int[Array, ""]) -> Int[Array, ""]:
        del key, meta_step
        return jnp.asarray(ENDLESS, jnp.int32)

    def sample_running(self, key: jax.Array, truncation_length: int) -> Int[Array, ""]:
        del key, truncation_length
        return jnp.asarray(ENDLESS, jnp.int32)

    def mean(self, meta_step: Int[Array, ""]) -> float:
        del meta_step
        return float(ENDLESS)

    def mean_truncations(self, truncation_length: int, meta_step: Int[Array, ""]) -> float:
        del meta_step
        return ENDLESS / truncation_length


@dataclasses.dataclass(frozen=True)
class ConstantHorizon(Horizon):
    """Every episode has ``length`` inner steps."""

    length: int

    def __post_init__(self) -> None:
        _check_length("horizon", self.length)

    @property
    def max(self) -> int:
        return self.length

    def is_ragged(self, truncation_length: int) -> bool:
        return self.length % truncation_length != 0

    def sample(self, key: jax.Array, meta_step: Int[Array, ""]) -> Int[Array, ""]:
        del key, meta_step
        return jnp.asarray(self.length, jnp.int32)

    def sample_running(self, key: jax.Array, truncation_length: int) -> Int[Array, ""]:
        del key, truncation_length
        return jnp.asarray(self.length, jnp.int32)

    def mean(self, meta_step: Int[Array, ""]) -> float:
        del meta_step
        return float(self.length)

    def mean_truncations(self, truncation_length: int, meta_step: Int[Array, ""]) -> float:
        del meta_step
        return float(-(-self.length // truncation_length))


@dataclasses.dataclass(frozen=True)
class LogUniformHorizon(Horizon):
    """T = floor(exp(U)), U uniform between log(low) and log(high + 1): low <= T <= high."""

    low: int
    high: int

    def __post_init__(self) -> None:
        _check_length("horizon.low", self.low)
        if self.high < self.low:
            raise ValueError(
                f"horizon.high = {self.high} is below horizon.low = {self.low}; "
                "give low <= high, in inner steps."
            )

    @property
    def max(self) -> int:
        return self.high

    def is_ragged(self, truncation_length: int) -> bool:
        return truncation_length > 1

    def sample(self, key: jax.Array, meta_step: Int[Array, ""]) -> Int[Array, ""]:
        del meta_step
        return self._draw(key, self._probabilities())

    def sample_running(self, key: jax.Array, truncation_length: int) -> Int[Array, ""]:
        return self._draw(key, self._probabilities() * self._truncations(truncation_length))

    def mean(self, meta_step: Int[Array, ""]) -> float:
        del meta_step
        return float(self._probabilities() @ self._lengths())

    def mean_truncations(self, truncation_length: int, meta_step: Int[Array, ""]) -> float:
        del meta_step
        return float(self._probabilities() @ self._truncations(truncation_length))

    def _lengths(self) -> np.ndarray:
        return np.arange(self.low, self.high + 1)

    def _truncations(self, truncation_length: int) -> np.ndarray:
        return -(-self._lengths() // truncation_length)

    def _probabilities(self) -> np.ndarray:
        lengths = self._lengths()
        return np.log((lengths + 1) / lengths) / math.log((self.high + 1) / self.low)

    def _draw(self, key: jax.Array, weights: np.ndarray) -> Int[Array, ""]:
        cumulative = np.cumsum(weights / weights.sum()).astype(np.float32)
        index = jnp.searchsorted(jnp.asarray(cumulative), jax.random.uniform(key), side="right")
        return (self.low + jnp.minimum(index, len(weights) - 1)).astype(jnp.int32)


@dataclasses.dataclass(frozen=True)
class ScheduledHorizon(Horizon):
    """T moves from ``start`` to ``end`` over the first ``meta_steps`` meta-steps, geometrically.

    An episode keeps the T of the meta-step at which it began. While T still moves, particles of
    several T are under way at once and a single meta-step is unbiased only to first order in the
    change of T during one episode; afterwards it is exact.
    """

    start: int
    end: int
    meta_steps: int

    def __post_init__(self) -> None:
        _check_length("horizon.start", self.start)
        _check_length("horizon.end", self.end)
        _check_length("horizon.meta_steps", self.meta_steps)

    @property
    def max(self) -> int:
        return max(self.start, self.end)

    def is_ragged(self, truncation_length: int) -> bool:
        return truncation_length > 1

    def sample(self, key: jax.Array, meta_step: Int[Array, ""]) -> Int[Array, ""]:
        del key
        return self._at(meta_step)

    def sample_running(self, key: jax.Array, truncation_length: int) -> Int[Array, ""]:
        del key, truncation_length
        return self._at(jnp.zeros((), jnp.int32))

    def mean(self, meta_step: Int[Array, ""]) -> Float[Array, ""]:
        return self._at(meta_step).astype(jnp.float32)

    def mean_truncations(
        self, truncation_length: int, meta_step: Int[Array, ""]
    ) -> Float[Array, ""]:
        truncations = -(-self._at(meta_step) // truncation_length)
        return truncations.astype(jnp.float32)

    def _at(self, meta_step: Int[Array, ""]) -> Int[Array, ""]:
        done = jnp.clip(meta_step / self.meta_steps, 0.0, 1.0)
        log_length = (1 - done) * math.log(self.start) + done * math.log(self.end)
        return jnp.round(jnp.exp(log_length)).astype(jnp.int32)


HORIZONS: dict[str, type[Horizon]] = {
    "endless": EndlessHorizon,
    "constant": ConstantHorizon,
    "log_uniform": LogUniformHorizon,
    "scheduled": ScheduledHorizon,
}


def make_horizon(spec: Any) -> Horizon:
    """Build a horizon from an int (constant T), None (no end), or ``{"name": ..., fields}``.

    A ``Horizon`` is returned as it is.

    Raises:
        ValueError: for an unknown name, wrong fields or impossible lengths.
    """
    if isinstance(spec, Horizon):
        return spec
    if spec is None:
        return EndlessHorizon()
    if isinstance(spec, Mapping):
        fields = dict(spec)
        name = fields.pop("name", None)
        if name not in HORIZONS:
            raise ValueError(f"unknown horizon {name!r}; known: {', '.join(HORIZONS)}.")
        expected = [field.name for field in dataclasses.fields(HORIZONS[name])]
        if sorted(fields) != sorted(expected):
            raise ValueError(
                f"horizon {name!r} takes the fields {', '.join(expected)}; "
                f"got {', '.join(fields) or 'none'}."
            )
        return HORIZONS[name](**fields)
    _check_length("horizon", spec)
    return ConstantHorizon(int(spec))


def _check_length(field: str, value: Any) -> None:
    if isinstance(value, bool) or not isinstance(value, int | np.integer) or value < 1:
        raise ValueError(f"{field} = {value!r} must be a whole number of steps, at least 1.")
