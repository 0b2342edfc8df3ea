"""Hand-designed optimizers to judge a learned one against, each with what is tuned of it."""

import dataclasses
import inspect
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import optax

LEARNING_RATE = "learning_rate"
"""The hyperparameter that is searched on a grid; the others are drawn at random."""


class Range(NamedTuple):
    """Values of one hyperparameter, spread evenly over the logarithm."""

    low: float
    high: float
    default: float
    """What it is while the learning rate is searched."""
    complement: bool = False
    """Whether 1 - x is what ``low`` and ``high`` bound and the logarithm is taken of."""

    def at(self, fraction: float) -> float:
        """The value at a fraction of the way from ``low`` to ``high``."""
        value = self.low * (self.high / self.low) ** fraction
        return 1 - value if self.complement else value


@dataclasses.dataclass(frozen=True)
class Baseline:
    """An Optax optimizer and what is tuned of it.

    Attributes:
        factory: constructor; hyperparameters are given by name and are traced numbers.
        space: tuned hyperparameters; empty where nothing is tuned.
        fixed: further arguments of the constructor.
        cosine: whether the learning rate falls to zero over the training, on half a cosine.
    """

    factory: Callable[..., optax.GradientTransformation]
    space: Mapping[str, Range]
    fixed: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    cosine: bool = False

    @property
    def description(self) -> str:
        """What it is and what is tuned, in a line."""
        parts = [f"optax {self.factory.__name__}", *(["cosine decay"] if self.cosine else [])]
        parts += [f"{name} {value}" for name, value in self.fixed.items()]
        return ", ".join(parts) + f"; tuned: {', '.join(self.space) or 'nothing'}"

    def bind(self, hyperparameters: Mapping[str, Any], num_steps: int) -> Any:
        """The optimizer; what is not given has the default of its range.

        Args:
            hyperparameters: values by name, all of them in ``space``.
            num_steps: length of the training, in inner steps.
        """
        defaults = {name: span.default for name, span in self.space.items()}
        values = {**self.fixed, **defaults, **hyperparameters}
        if self.cosine:
            values[LEARNING_RATE] = optax.cosine_decay_schedule(values[LEARNING_RATE], num_steps)
        return self.factory(**values)

    def fix(self, fields: Mapping[str, Any]) -> "Baseline":
        """The baseline with some arguments given; a given learning rate leaves nothing to tune."""
        space = {name: span for name, span in self.space.items() if name not in fields}
        fixed = {**self.fixed, **fields}
        if LEARNING_RATE in fields:
            fixed = {name: span.default for name, span in space.items()} | fixed
            space = {}
        return dataclasses.replace(self, space=space, fixed=fixed)


_MOMENTUM = Range(0.01, 0.5, default=0.9, complement=True)
_SQUARES = Range(0.001, 0.1, default=0.999, complement=True)

BASELINES: dict[str, Baseline] = {
    "adam": Baseline(
        optax.adam, {LEARNING_RATE: Range(1e-4, 1e-1, 1e-3), "b1": _MOMENTUM, "b2": _SQUARES}
    ),
    "adamw": Baseline(
        optax.adamw,
        {
            LEARNING_RATE: Range(1e-4, 1e-1, 1e-3),
            "b1": _MOMENTUM,
            "b2": _SQUARES,
            "weight_decay": Range(1e-5, 1.0, 1e-4),
        },
    ),
    "adamw_cosine": Baseline(
        optax.adamw,
        {
            LEARNING_RATE: Range(1e-4, 1e-1, 1e-3),
            "b1": _MOMENTUM,
            "b2": _SQUARES,
            "weight_decay": Range(1e-5, 1.0, 1e-4),
        },
        cosine=True,
    ),
    "sgd_momentum": Baseline(
        optax.sgd, {LEARNING_RATE: Range(1e-3, 1.0, 1e-1), "momentum": _MOMENTUM}
    ),
    "lion": Baseline(
        optax.lion,
        {
            LEARNING_RATE: Range(1e-5, 1e-2, 1e-4),
            "b1": _MOMENTUM,
            "b2": Range(0.003, 0.1, default=0.99, complement=True),
            "weight_decay": Range(1e-5, 1.0, 1e-3),
        },
    ),
    "muon": Baseline(
        # Matrices by Muon; biases, convolutions and all else by Adam at a rate of its own.
        optax.contrib.muon,
        {
            LEARNING_RATE: Range(1e-3, 1.0, 2e-2),
            "beta": Range(0.01, 0.5, default=0.95, complement=True),
            "adam_learning_rate": Range(3e-4, 3e-2, 3e-3),
        },
    ),
    "schedule_free": Baseline(
        optax.contrib.schedule_free_adamw,
        {LEARNING_RATE: Range(1e-4, 1e-1, 2.5e-3), "b1": _MOMENTUM, "b2": _SQUARES},
    ),
}
"""Registry of baselines by name."""

_ANY = {LEARNING_RATE: Range(1e-4, 1.0, 1e-3)}
"""What is tuned of an optimizer that is not in the registry."""


def known() -> dict[str, Baseline]:
    """``BASELINES``, and all other optimizers of Optax that have a learning rate, by name."""
    of_optax = {
        name: Baseline(function, _ANY)
        for module in (optax.contrib, optax)
        for name, function in inspect.getmembers(module, inspect.isfunction)
        if LEARNING_RATE in inspect.signature(function).parameters
        and not name.startswith(("_", "scale_by_"))
    }
    return of_optax | BASELINES
