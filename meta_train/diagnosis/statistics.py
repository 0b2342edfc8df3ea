"""Numbers about samples of gradients, each with its standard error, by the jackknife.

A sample is the rows of an array [runs, P], independent of each other. All numbers are without
bias, so that squared norms can come out below 0. Where noise is most of it, the errors of squared
norms and products come out up to 1.4 times too large.
"""

import math
from typing import NamedTuple

import numpy as np
from jaxtyping import Float

Sample = Float[np.ndarray, "_ P"]
"""Runs of two samples are of different number."""


class Value(NamedTuple):
    """A number and its standard error."""

    value: float
    error: float

    @property
    def resolved(self) -> bool:
        """Whether it is above 0 by more than two standard errors."""
        return self.value > 2 * self.error

    def scaled(self, factor: float | int) -> "Value":
        """It times a number that has no error."""
        return Value(self.value * factor, self.error * abs(factor))

    def over(self, other: "Value") -> "Value":
        """Its ratio to a number that is independent of it and above 0."""
        if not other.value > 0:
            return Value(math.nan, math.nan)
        ratio = self.value / other.value
        return Value(ratio, math.hypot(self.error, ratio * other.error) / other.value)

    def times(self, other: "Value") -> "Value":
        """Its product with a number that is independent of it."""
        error = math.hypot(self.error * other.value, self.value * other.error)
        return Value(self.value * other.value, error)

    def __str__(self) -> str:
        """With two digits of the standard error."""
        if not (math.isfinite(self.value) and math.isfinite(self.error)):
            return "-"
        if self.error == 0:
            return f"{self.value:.3g}"
        digits = 1 - math.floor(math.log10(self.error))
        if not -5 < digits < 5:
            return f"{self.value:.2e} ± {self.error:.1e}"
        value, error = round(self.value, digits), round(self.error, digits)
        return f"{value:.{max(digits, 0)}f} ± {error:.{max(digits, 0)}f}"


def variance(x: Sample) -> Value:
    """Trace of the covariance matrix of a row."""
    n = len(x)
    distances = np.sum((x - x.mean(axis=0)) ** 2, axis=1)
    total = distances.sum()
    return _value(total / (n - 1), (total - distances * n / (n - 1)) / (n - 2))


def squared_norm(x: Sample) -> Value:
    """Squared norm of the expectation: that of the mean less its variance, ``variance / n``."""
    return _value(*_squared_norms(x))


def projection(x: Sample, y: Sample) -> Value:
    """Scalar product of the expectations of two samples that are independent of each other."""
    along_x, along_y = x @ y.mean(axis=0), y @ x.mean(axis=0)
    error = math.hypot(_error_of_mean(along_x), _error_of_mean(along_y))
    return Value(float(along_x.mean()), error)


def squared_distance(x: Sample, y: Sample) -> Value:
    """Squared distance of the expectations of two samples that are independent of each other."""
    (of_x, without_x), (of_y, without_y) = _squared_norms(x), _squared_norms(y)
    both = float(x.mean(axis=0) @ y.mean(axis=0))
    errors = (
        _value(0.0, without - 2 * _means_without_one(z @ other.mean(axis=0))).error
        for without, z, other in ((without_x, x, y), (without_y, y, x))
    )
    return Value(float(of_x + of_y) - 2 * both, math.hypot(*errors))


def mean(x: Float[np.ndarray, " runs"]) -> Value:
    """Of numbers, one of each run."""
    return Value(float(x.mean()), _error_of_mean(x))


def median(x: Float[np.ndarray, " times"]) -> Value:
    """Of times, whose errors have long tails: the standard error is that of a normal centre."""
    middle = float(np.median(x))
    spread = 1.4826 * float(np.median(np.abs(x - middle)))
    return Value(middle, 1.2533 * spread / math.sqrt(len(x)))


def _squared_norms(x: Sample) -> tuple[float, Float[np.ndarray, " runs"]]:
    """Of all runs, and without one run at a time."""
    n, total = len(x), x.sum(axis=0)
    own = np.sum(x**2, axis=1)
    pairs = total @ total - own.sum()
    without = pairs - 2 * (x @ total - own)
    return float(pairs) / (n * (n - 1)), without / ((n - 1) * (n - 2))


def _means_without_one(x: Float[np.ndarray, " runs"]) -> Float[np.ndarray, " runs"]:
    return (x.sum() - x) / (len(x) - 1)


def _error_of_mean(x: Float[np.ndarray, " runs"]) -> float:
    return float(np.std(x, ddof=1)) / math.sqrt(len(x))


def _value(whole: float, without_one: Float[np.ndarray, " runs"]) -> Value:
    n = len(without_one)
    return Value(float(whole), float(np.sqrt((n - 1) * np.var(without_one))))
