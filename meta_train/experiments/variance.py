"""Gradient variance: how it goes with the number of truncations and of particles.

A small LSTM reads a text, random characters, or one character over and over; theta stays as it is
drawn. The variance is that of the gradient of whole episodes, one pair of particles each, over the
squared norm of the exact one. Expected: [2, section 3.1 and figure 1], and the formula of
``meta_train.linearised``, which is drawn too.

[1] Vicol, Metz and Sohl-Dickstein, "Unbiased Gradient Estimation in Unrolled Computation Graphs
    with Persistent Evolution Strategies", ICML 2021, arXiv:2112.13835.
[2] Vicol, Kolter and Swersky, arXiv:2304.11153.
"""

import dataclasses
import functools
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import flax.struct
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int
from matplotlib.axes import Axes
from matplotlib.ticker import FuncFormatter

from meta_train.estimators.nres import NRES
from meta_train.estimators.pes import PES
from meta_train.evaluation import identity
from meta_train.experiments import curves
from meta_train.experiments.experiment import Experiment, Finding, Outcome, Part, Plan, Table
from meta_train.figures import panels
from meta_train.figures.panels import Band, Panel
from meta_train.linearised import influences, pair_variance, reach
from meta_train.particles import Execution
from meta_train.systems.character_lstm import character_lstm
from meta_train.types import GradientEstimator, Theta, UnrolledSystem
from meta_train.variance import gradient_moments

SEQUENCES: tuple[str, ...] = ("text", "random", "repeated")
METHODS: dict[str, Callable[..., GradientEstimator]] = {"pes": PES, "nres": NRES}
COLUMNS = ("experiment", "sequence", "method", "truncations", "num_pairs", "variance", "error")
_STD = 1e-3
_AT_ONCE, _FEWEST = 50, 20
"""Runs in one program, and runs for one variance."""


@flax.struct.dataclass
class SameEpisode(UnrolledSystem):
    """A system whose episodes are all the one of key 0, so that perturbations alone scatter.

    Args:
        system: whose inner steps draw nothing.
    """

    system: Any

    def init_theta(self, key: jax.Array) -> Theta:
        return self.system.init_theta(key)

    def init(self, key: jax.Array, theta: Theta, horizon: Int[Array, ""]) -> Any:
        del key
        return self.system.init(jax.random.key(0), theta, horizon)

    def step(self, key: jax.Array, theta: Theta, state: Any) -> tuple[Any, Float[Array, ""]]:
        return self.system.step(key, theta, state)


def reader(sequence: str, width: int = 5) -> SameEpisode:
    """A character LSTM on one of ``SEQUENCES``: a text, characters drawn from the same alphabet, or
    one character over and over."""
    system = character_lstm(width, num_chars=10_000)
    text = np.asarray(system.text.characters)
    if sequence == "random":
        size = len(system.text.vocabulary)
        text = np.random.default_rng(0).integers(size, size=len(text)).astype(text.dtype)
    elif sequence == "repeated":
        text = np.full_like(text, text[0])
    read = dataclasses.replace(system.text, characters=jnp.asarray(text))
    return SameEpisode(dataclasses.replace(system, text=read))


@dataclasses.dataclass(frozen=True)
class Variances(Plan):
    """Variances by sequence and method, over truncations with one pair, and over pairs.

    Attributes:
        num_steps: T.
        truncations: T / K, numbers that divide T, the first 1.
        pairs: numbers of pairs, of PES with the third number of truncations.
        num_runs: episodes for one variance with one pair.
    """

    num_steps: int
    truncations: Sequence[int]
    pairs: Sequence[int]
    num_runs: int

    def parts(self) -> Sequence[Part]:
        return [self._part(*case) for case in self._cases()] + [
            Part(
                f"{sequence}, by formula",
                self._key(sequence, truncations=list(self.truncations)),
                functools.partial(self._formula, sequence),
                lambda values: f"{values[-1]:.4g} with {self.truncations[-1]} truncations",
            )
            for sequence in SEQUENCES
        ]

    def outcome(self, name: str, values: Sequence[Any]) -> Outcome:
        measured = dict(zip(self._cases(), values[: -len(SEQUENCES)], strict=True))
        formula: dict[str, list[float]] = dict(
            zip(SEQUENCES, values[-len(SEQUENCES) :], strict=True)
        )
        rows = [(name, *case, *(f"{x:.6g}" for x in found)) for case, found in measured.items()]
        rows += [
            (name, sequence, "formula", count, 1, f"{value:.6g}", 0)
            for sequence, found in formula.items()
            for count, value in zip(self.truncations, found, strict=True)
        ]
        figures = [self._over_truncations(name, x, measured, formula[x]) for x in SEQUENCES]
        figures.append(self._over_pairs(name, measured))
        findings = self._findings(measured, formula)
        return Outcome({"results": Table(COLUMNS, rows)}, figures, findings)

    def _cases(self) -> list[tuple[str, str, int, int]]:
        """(sequence, method, truncations, pairs) of every measured variance."""
        alone = [(x, m, count, 1) for x in SEQUENCES for m in METHODS for count in self.truncations]
        return alone + [("text", "pes", self.truncations[2], pairs) for pairs in self.pairs[1:]]

    def _part(self, sequence: str, method: str, truncations: int, pairs: int) -> Part:
        measure = functools.partial(self._measure, sequence, method, truncations, pairs)
        label = f"{sequence}, {method}, {truncations} truncations, pairs: {pairs}"
        key = self._key(
            sequence, method=method, truncations=truncations, pairs=pairs, runs=self._runs(pairs)
        )
        return Part(label, key, measure, lambda found: f"{found[0]:.4g}")

    def _runs(self, pairs: int) -> int:
        """Fewer where more pairs make each run's estimate more certain."""
        return max(_FEWEST, self.num_runs // pairs)

    def _key(self, sequence: str, **fields: Any) -> dict[str, Any]:
        def everything(system: UnrolledSystem, key: jax.Array) -> Any:
            theta = system.init_theta(key)
            return system.step(key, theta, system.init(key, theta, jnp.int32(self.num_steps)))

        digest = identity.program_digest(everything, self._start(sequence)[0])
        return {"system": digest, "num_steps": self.num_steps, "std": _STD, **fields}

    def _start(self, sequence: str) -> tuple[UnrolledSystem, Theta]:
        system = reader(sequence)
        return system, system.init_theta(jax.random.key(0))

    def _influences(self, sequence: str, truncations: int) -> np.ndarray:
        system, theta = self._start(sequence)
        length = self.num_steps // truncations
        return influences(system, jax.random.key(0), theta, self.num_steps, length)

    def _formula(self, sequence: str) -> list[float]:
        """Of PES, for every number of truncations."""
        found = [self._influences(sequence, count) for count in self.truncations]
        return [pair_variance(reach(g)) / _squared_norm(g) for g in found]

    def _measure(self, sequence: str, method: str, truncations: int, pairs: int) -> list[float]:
        """Variance and its standard error, over the squared norm of the exact gradient."""
        system, theta = self._start(sequence)
        estimator = METHODS[method](
            self.num_steps, self.num_steps // truncations, num_pairs=pairs, std=_STD,
            staggered=False,
        )  # fmt: skip
        runs = self._runs(pairs)
        found = gradient_moments(
            system, estimator, jax.random.key(1), theta, num_runs=runs, meta_steps=truncations,
            runs_at_once=math.gcd(runs, _AT_ONCE), execution=Execution("parallel"),
        )  # fmt: skip
        unit = _squared_norm(self._influences(sequence, 1)) / self.num_steps**2
        return [found.run_variance / unit, found.run_variance_error / unit]

    def _over_truncations(
        self, name: str, sequence: str, measured: Mapping[Any, Any], formula: Sequence[float]
    ) -> Panel:
        figure, axes = panels.new(f"{name}: {sequence}", "truncations of an episode",
                                  "variance / squared norm", 4.5, 3.2)  # fmt: skip
        at = np.asarray(self.truncations, np.float64)
        bands = {}
        for method in METHODS:
            found = np.array([measured[sequence, method, count, 1] for count in self.truncations])
            bands[method] = Band(at, found[:, 0], *(found[:, 0] + x * found[:, 1] for x in (-2, 2)))
        bands["pes, by formula"] = Band(at, *[np.asarray(formula)] * 3)
        panels.bands(axes, bands, curves.lines(list(bands), METHODS))
        every = np.concatenate([band.mean for band in bands.values()])
        _log_steps(axes)
        panels.set_log(axes, every.min() / 1.5, every.max() * 1.5)
        return Panel(figure, f"{name}_{sequence}", f"variance over truncations, {sequence}")

    def _over_pairs(self, name: str, measured: Mapping[Any, Any]) -> Panel:
        figure, axes = panels.new(f"{name}: pairs", "antithetic pairs", "variance / squared norm",
                                  4.5, 3.2)  # fmt: skip
        at, found = np.asarray(self.pairs, np.float64), self._by_pairs(measured)
        bands = {"pes, text": Band(at, found, found, found)}
        line = found[0] / at
        bands["in inverse proportion"] = Band(at, line, line, line)
        panels.bands(axes, bands, curves.lines(list(bands), ["pes, text"]))
        _log_steps(axes)
        panels.set_log(axes, line.min() / 1.5, line.max() * 1.5)
        return Panel(figure, f"{name}_pairs", "variance of PES over pairs")

    def _by_pairs(self, measured: Mapping[Any, Any]) -> np.ndarray:
        third = self.truncations[2]
        return np.array([measured["text", "pes", third, pairs][0] for pairs in self.pairs])

    def _findings(
        self, measured: Mapping[Any, Any], formula: Mapping[str, Sequence[float]]
    ) -> list[Finding]:
        def ratios(sequence: str, method: str) -> np.ndarray:
            found = [measured[sequence, method, count, 1][0] for count in self.truncations]
            return np.asarray(found) / found[0]

        def within(subject: str, value: float, low: float, high: float) -> Finding:
            holds = bool(low <= value <= high)
            words = f"{subject}: {value:.3g}, expected {low:.3g} to {high:.3g}"
            return Finding.of(subject, holds, words)

        most = self.truncations[-1]
        growth = f"variance with {most} truncations over that with one"
        later = np.log(self.truncations[2:])
        slope = np.polyfit(later, np.log(ratios("random", "pes")[2:]), 1)[0]
        errors = [
            abs(measured[sequence, "pes", count, 1][0] / value - 1)
            for sequence, found in formula.items()
            for count, value in zip(self.truncations, found, strict=True)
        ]
        nres = np.concatenate([ratios(sequence, "nres") for sequence in SEQUENCES])
        inverse = np.polyfit(np.log(self.pairs), np.log(self._by_pairs(measured)), 1)[0]
        return [
            within(f"pes, repeated: {growth}", ratios("repeated", "pes")[-1], 0.0, 1.1),
            within("pes, random: exponent of truncations", slope, 0.8, 1.1),
            within(f"pes, text: {growth}", ratios("text", "pes")[-1], 1.0, float(most)),
            within("nres: largest change with truncations", np.abs(nres - 1).max(), 0.0, 0.1),
            within("pes: largest distance from the formula", max(errors), 0.0, 0.3),
            within("pes: exponent of pairs", inverse, -1.05, -0.95),
        ]


def _log_steps(axes: Axes) -> None:
    """A logarithmic horizontal axis with plain numbers."""
    axes.set_xscale("log")
    axes.xaxis.set_major_formatter(FuncFormatter(panels.plain))


def _squared_norm(influences: np.ndarray) -> float:
    """Of the gradient of the sum of an episode's losses."""
    return float(np.sum(np.sum(influences, axis=(0, 1), dtype=np.float64) ** 2))


EXPERIMENT = Experiment(
    summary="gradient variance of a small LSTM: that of PES falls or grows with truncations as "
    "their gradients agree, that of NRES stays",
    presets={
        "quick": functools.partial(Variances, 100, (1, 2, 5, 10, 20, 50), (1, 10, 100, 1000), 500),
        "full": functools.partial(
            Variances, 1000, (1, 2, 5, 10, 20, 50, 100), (1, 10, 100, 1000), 1000
        ),
    },
)
