"""Estimators compared on one system: meta-trainings with the same budget and the same seeds."""

import abc
import dataclasses
import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, Float

from meta_train.evaluation import identity
from meta_train.experiments import curves
from meta_train.experiments.experiment import Finding, Outcome, Part, Plan, Table
from meta_train.experiments.surface import Surface
from meta_train.particles import Execution
from meta_train.trainer import MetaTrainer
from meta_train.types import GradientEstimator, Theta, UnrolledSystem

COLUMNS = ("experiment", "method", "seed", "meta_step", "inner_steps", "value")


class Method(NamedTuple):
    """An estimator with the meta-optimizer that follows it."""

    estimator: GradientEstimator
    optimizer: str
    """In Optax."""
    learning_rate: float
    clip_norm: float | None = None
    """Largest global norm of a meta-gradient; None: no limit."""
    decay_steps: int | None = None
    """Meta-steps over which the learning rate falls to 0, as a cosine; None: it stays."""

    @functools.cache  # noqa: B019 (few methods; one optimizer, so that seeds share a program)
    def make_optimizer(self) -> optax.GradientTransformation:
        """The meta-optimizer."""
        rate: optax.ScalarOrSchedule = self.learning_rate
        if self.decay_steps is not None:
            rate = optax.cosine_decay_schedule(self.learning_rate, self.decay_steps)
        optimizer = getattr(optax, self.optimizer)(rate)
        if self.clip_norm is None:
            return optimizer
        return optax.chain(optax.clip_by_global_norm(self.clip_norm), optimizer)

    @property
    def inner_steps(self) -> int:
        """Of all particles, in one meta-step."""
        lone = hasattr(self.estimator, "num_particles")
        groups = self.estimator.num_groups
        return (groups if lone else 2 * groups) * self.estimator.steps_per_truncation


class Expectation(abc.ABC):
    """What the values of all methods are held against."""

    @abc.abstractmethod
    def finding(self, values: curves.Curves) -> Finding:
        """Whether it holds, in words too."""


@dataclasses.dataclass(frozen=True)
class Expected(Expectation):
    """Where the values of a method are at the end, with every seed."""

    method: str
    low: float
    high: float

    def finding(self, values: curves.Curves) -> Finding:
        ends = values[self.method][:, -1]
        worst = np.where(np.isfinite(ends), ends, np.inf)
        holds = bool(((worst >= self.low) & (worst <= self.high)).all())
        words = (
            f"{self.method}: {worst.min():.4g} to {worst.max():.4g}, expected {self.low:.4g} to "
            f"{self.high:.4g}"
        )
        return Finding.of(self.method, holds, words)


@dataclasses.dataclass(frozen=True)
class Below(Expectation):
    """At the end the median over seeds of a method is below that of another one."""

    method: str
    other: str

    def finding(self, values: curves.Curves) -> Finding:
        ends = (np.nan_to_num(values[x][:, -1], nan=np.inf) for x in (self.method, self.other))
        found, other = (float(np.median(x)) for x in ends)
        words = f"{self.method}: median {found:.4g}, expected below {other:.4g} of {self.other}"
        return Finding.of(self.method, found < other, words)


@dataclasses.dataclass(frozen=True)
class Comparison(Plan):
    """Meta-trainings by several methods, which take the same inner steps in every meta-step.

    Attributes:
        system: what is unrolled.
        judge: value of a theta, such as its loss, without perturbation.
        measure: what ``judge`` returns, for the figure.
        methods: by name.
        meta_steps: updates of theta.
        num_seeds: runs of each method.
        expected: at the end.
        execution: how particles are worked on.
        num_points: of every curve.
        surface: over which the paths of theta are drawn, where theta has one or two numbers.
    """

    system: UnrolledSystem
    judge: Callable[[UnrolledSystem, Theta], Float[Array, ""]]
    measure: str
    methods: Mapping[str, Method]
    meta_steps: int
    num_seeds: int
    expected: Sequence[Expectation]
    execution: Execution
    num_points: int = 50
    surface: Surface | None = None

    @property
    def measured_at(self) -> np.ndarray:
        """Meta-steps after which theta is judged."""
        every = max(1, self.meta_steps // self.num_points)
        return np.arange(every, self.meta_steps + 1, every)

    def parts(self) -> Sequence[Part]:
        parts = [
            self._part(label, method, seed)
            for seed in range(self.num_seeds)
            for label, method in self.methods.items()
        ]
        return parts if self.surface is None else [*parts, self._surface_part(self.surface)]

    def outcome(self, name: str, values: Sequence[Any]) -> Outcome:
        runs = values[: self.num_seeds * len(self.methods)]
        labels, at, found = list(self.methods), self.measured_at, self.found(runs)
        tables = {"results": Table(COLUMNS, self._rows(name, found))}
        solid = [x for x in labels if self.methods[x].estimator.unbiased]
        panels = [curves.draw(name, found, at, self.measure, solid)]
        if self.surface is not None:
            paths = {
                label: [curves.numbers(run["thetas"]) for run in runs[i :: len(labels)]]
                for i, label in enumerate(labels)
            }
            grid = curves.numbers(values[-1])
            steps = [0, *at.tolist()]
            tables["surface"] = self.surface.table(grid)
            tables["paths"] = self.surface.path_table(paths, steps)
            panels.append(self.surface.draw(name, grid, paths, steps, self.measure, solid))
        return Outcome(tables, panels, [x.finding(found) for x in self.expected])

    def found(self, runs: Sequence[Any]) -> curves.Curves:
        """Values by method, from those of the parts that are meta-trainings, in their order."""
        return {
            label: curves.numbers([run["values"] for run in runs[i :: len(self.methods)]])
            for i, label in enumerate(self.methods)
        }

    def _part(self, label: str, method: Method, seed: int) -> Part:
        key = {
            **self.system_identity,
            "estimator": repr(method.estimator),
            "meta_optimizer": method[1:],
            "meta_steps": self.meta_steps,
            "seed": seed,
        }

        def brief(run: Any) -> str:
            return f"{float(curves.numbers(run['values'])[-1]):.4g}"

        return Part(f"{label}, seed {seed}", key, lambda: self._run(method, seed), brief)

    def _surface_part(self, surface: Surface) -> Part:
        key = {**self.system_identity, "surface": repr(surface)}
        theta = jax.eval_shape(self.system.init_theta, jax.random.key(0))

        def compute() -> Any:
            return curves.plain(surface.measure(lambda x: self.judge(self.system, x), theta))

        return Part("surface", key, compute, lambda _: surface.size)

    @functools.cached_property
    def system_identity(self) -> dict[str, Any]:
        """Of system and judge: what they compute, in a part's key."""

        def everything(system: UnrolledSystem, key: jax.Array) -> Any:
            theta = system.init_theta(key)
            state = system.init(key, theta, jnp.int32(2))
            return system.step(key, theta, state), self.judge(system, theta)

        return {"system": identity.program_digest(everything, self.system)}

    @functools.cached_property
    def _value(self) -> Callable[[UnrolledSystem, Theta], Float[Array, ""]]:
        return jax.jit(self.judge)

    def _run(self, method: Method, seed: int) -> dict[str, Any]:
        """Losses along one meta-training, and the thetas where they are drawn."""
        trainer = MetaTrainer(
            [self.system],
            method.estimator,
            method.make_optimizer(),
            steps_per_dispatch=int(self.measured_at[0]),
            execution=self.execution,
        )
        state = trainer.init(jax.random.key(seed))
        values, thetas = [], [_flat(state.theta)]
        for _ in self.measured_at:
            state, _ = trainer.step(state)
            values.append(float(self._value(self.system, state.theta)))
            thetas.append(_flat(state.theta))
        found = {"values": curves.plain(values)}
        return found if self.surface is None else {**found, "thetas": curves.plain(thetas)}

    def _rows(self, name: str, values: curves.Curves) -> list[tuple[Any, ...]]:
        return [
            (name, label, seed, step, step * self.methods[label].inner_steps, f"{value:.6g}")
            for label, runs in values.items()
            for seed, run in enumerate(runs)
            for step, value in zip(self.measured_at, run, strict=True)
        ]


def _flat(theta: Theta) -> np.ndarray:
    """Theta as one vector of the host's, which a donated state does not take away."""
    return np.asarray(ravel_pytree(jax.device_get(theta))[0])
