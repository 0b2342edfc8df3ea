"""Tuning a baseline within a stated budget: a grid of learning rates, then random search.

First the learning rate takes `num_grid` values over its whole range, evenly on a logarithmic scale,
while the other hyperparameters have their defaults. Then `num_random` trials draw the others at
random and the learning rate within one grid step of the best. The best of all trials wins. The
learning rate is the hyperparameter that stands first, whatever its name.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float

from meta_train.evaluation.baselines import Range

Hyperparameters = dict[str, float]


class Budget(NamedTuple):
    """Number of training runs that the tuning of one baseline on one task may take."""

    num_grid: int
    num_random: int


class Trial(NamedTuple):
    """One choice of hyperparameters and how it did."""

    hyperparameters: Hyperparameters
    score: float
    """The loss that is minimised; infinite where it was not finite."""


class Tuned(NamedTuple):
    """The outcome of a search."""

    hyperparameters: Hyperparameters
    """The hyperparameters of the best trial, the first of equals."""
    trials: tuple[Trial, ...]
    at_edge: bool
    """Whether the best grid value is the first or the last: the range may be too narrow."""

    def to_json(self) -> dict[str, Any]:
        """As plain data: names once, then a row of numbers for every trial."""
        names = list(self.hyperparameters)
        return {
            "names": names,
            "best": [self.hyperparameters[name] for name in names],
            "at_edge": self.at_edge,
            "trials": [
                [score if np.isfinite(score) else None, *(values[name] for name in names)]
                for values, score in self.trials
            ],
        }

    @classmethod
    def from_json(cls, entry: Mapping[str, Any]) -> "Tuned":
        """What ``to_json`` has made."""

        def named(values: Sequence[float]) -> Hyperparameters:
            return dict(zip(entry["names"], values, strict=True))

        trials = (
            Trial(named(values), np.inf if score is None else score)
            for score, *values in entry["trials"]
        )
        return cls(named(entry["best"]), tuple(trials), entry["at_edge"])


def tune(
    space: Mapping[str, Range],
    budget: Budget,
    measure: Callable[[Sequence[Hyperparameters]], Float[np.ndarray, " trials"]],
    seed: int,
) -> Tuned:
    """Search for the hyperparameters with the lowest score.

    Args:
        space: ranges of the hyperparameters, the learning rate first; where it is empty there is
            nothing to search.
        budget: at least one value on the grid.
        measure: the scores of several choices; called once for the grid, once for the rest.
        seed: of the random search; the same seed gives the same trials.
    """
    if not space:
        return Tuned({}, (), at_edge=False)
    first = next(iter(space))
    rates = _grid(space[first], budget.num_grid)
    defaults = {name: span.default for name, span in space.items()}
    trials = _measured([defaults | {first: rate} for rate in rates], measure)
    best = int(np.argmin([trial.score for trial in trials]))
    at_edge = budget.num_grid > 1 and best in (0, budget.num_grid - 1)
    if budget.num_random:
        chosen = _random(space, rates[best], budget, seed)
        trials += _measured(chosen, measure)
    winner = min(trials, key=lambda trial: trial.score)
    return Tuned(winner.hyperparameters, tuple(trials), at_edge)


def _grid(span: Range, count: int) -> list[float]:
    fractions = np.linspace(0, 1, count) if count > 1 else [0.5]
    return [float(span.at(fraction)) for fraction in fractions]


def _random(
    space: Mapping[str, Range], rate: float, budget: Budget, seed: int
) -> list[Hyperparameters]:
    first = next(iter(space))
    span = space[first]
    step = (span.high / span.low) ** (1 / max(1, budget.num_grid - 1))
    draws = np.random.default_rng(seed).random((budget.num_random, len(space)))
    chosen = []
    for row in draws:
        fractions = dict(zip(space, row, strict=True))
        values = {name: float(space[name].at(fraction)) for name, fraction in fractions.items()}
        values[first] = float(rate * step ** (2 * fractions[first] - 1))
        chosen.append(values)
    return chosen


def _measured(
    chosen: list[Hyperparameters],
    measure: Callable[[Sequence[Hyperparameters]], Float[np.ndarray, " trials"]],
) -> list[Trial]:
    scores = np.asarray(measure(chosen), np.float64)
    scores = np.where(np.isfinite(scores), scores, np.inf)
    return [Trial(values, float(score)) for values, score in zip(chosen, scores, strict=True)]
