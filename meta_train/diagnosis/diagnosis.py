"""A diagnosis: which estimator, K, number of pairs and sigma suit a system at a theta."""

import csv
import dataclasses
import io
import json
from collections.abc import Mapping
from typing import Any

import jax
import numpy as np
from etils import epath
from rich import box
from rich.console import Console
from rich.table import Table

from meta_train.diagnosis import landscape, recommendation, rows, search, statistics
from meta_train.diagnosis.landscape import Landscape
from meta_train.diagnosis.plan import (
    REFERENCE,
    Plan,
    Setting,
    fixed,
    in_training,
    own_std,
    settings,
    std_of,
)
from meta_train.diagnosis.recommendation import Pairs, Recommendation
from meta_train.diagnosis.rows import Row
from meta_train.diagnosis.samples import Samples
from meta_train.diagnosis.statistics import Value
from meta_train.evaluation import identity
from meta_train.evaluation.result_store import write_atomically
from meta_train.types import GradientEstimator, Theta, UnrolledSystem

TABLE, SUMMARY = "table.csv", "summary.json"


@dataclasses.dataclass(frozen=True)
class Diagnosis:
    """What was measured and what follows from it.

    Attributes:
        rows: a row of every setting that was measured, the reference's first.
        fresh: rows of the own setting and of the best other, measured anew beside each other.
        pairs: meta-steps as in training, with several numbers of pairs.
        particles: variance of the reference's and the own estimator's whole-episode gradient, by
            number of particles.
        landscape: the meta-loss around theta; None where none was asked for.
        recommendation: what to set.
        left_out: settings for which there was no time.
        facts: sizes, versions, the machine, the seconds that measuring took.
    """

    rows: tuple[Row, ...]
    fresh: tuple[Row, ...]
    pairs: tuple[Pairs, ...]
    particles: Mapping[str, tuple[tuple[int, Value], ...]]
    landscape: Landscape | None
    recommendation: Recommendation
    left_out: tuple[Setting, ...]
    facts: Mapping[str, Any]

    def table(self) -> str:
        """All settings, for the terminal."""
        made = Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0))
        made.add_column("estimator", no_wrap=True)
        for column in ("K", "std", "runs", "variance", "share", "bias", "SNR per s"):
            made.add_column(column, justify="right", no_wrap=True)
        for row in sorted(self.rows, key=lambda row: _place(self.rows, row)):
            name, length, factor = row.setting
            made.add_row(
                name if row.unbiased else f"{name} *",
                str(length),
                f"x {factor:g}",
                str(row.runs),
                str(row.variance),
                str(row.share),
                row.bias,
                str(row.snr_per_second),
            )
        notes = "* biased by what it leaves out"
        if self.left_out:
            notes += f"\nno time was left for {len(self.left_out)} more settings"
        return f"{_printed(made)}\n{notes}"

    def words(self) -> str:
        """The recommendation, for people."""
        found = self.recommendation
        verb = "set" if found.changes else "keep"
        setting = (
            f"{verb} estimator.name = {found.estimator}, truncation_length = "
            f"{found.truncation_length}, num_pairs = {found.num_pairs}, std = {found.std}"
        )
        return "\n".join([setting, *(f"- {reason}" for reason in found.reasons)])

    def save(self, folder: epath.PathLike) -> None:
        """Write table.csv, summary.json and the figures, variance and landscape, as PNG and PDF.

        Raises:
            OSError: a file cannot be written.
        """
        from meta_train.diagnosis import figures  # Matplotlib takes a second to import

        folder = epath.Path(folder)
        text, plain = io.StringIO(), [row.plain() for row in self.rows]
        writer = csv.DictWriter(text, list(plain[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(plain)
        write_atomically(folder / TABLE, text.getvalue().encode())
        summary = json.dumps(self.plain(), indent=2, allow_nan=False) + "\n"
        write_atomically(folder / SUMMARY, summary.encode())
        figures.save(self, folder)

    def plain(self) -> dict[str, Any]:
        """Everything by name, as JSON can hold it."""
        drawn = self.landscape
        return {
            "recommendation": self.recommendation.plain(),
            "settings": [row.plain() for row in self.rows],
            "fresh": [row.plain() for row in self.fresh],
            "pairs": [x.plain() for x in self.pairs],
            "particles": {
                name: [{"particles": n, "variance": v.value, "variance_error": v.error}
                       for n, v in found]
                for name, found in self.particles.items()
            },
            "landscape": drawn and {
                "places": drawn.places.tolist(),
                "raw": _listed(drawn.raw),
                "smoothed": _listed(drawn.smoothed),
                "paths": {name: _listed(path) for name, path in drawn.paths.items()},
            },
            "left_out": [str(setting) for setting in self.left_out],
            **self.facts,
        }  # fmt: skip


def diagnose(
    system: UnrolledSystem,
    estimators: Mapping[str, GradientEstimator],
    theta: Theta,
    plan: Plan | None = None,
    report: search.Report = lambda words, seconds_left: None,
) -> Diagnosis:
    """Measure estimators of the meta-gradient of a system at a theta, and recommend one.

    Args:
        system: what is unrolled.
        estimators: by name; the first has the setting that is used now. They share the horizon,
            which must end, and ``mean_over``.
        theta: the present meta-parameters; they stay as they are.
        plan: how much is measured; None is ``Plan()``.
        report: told what was measured, and how many seconds are left at most.

    Raises:
        ValueError: a number out of range, such as a K longer than T.
    """
    plan = plan or Plan()
    estimators = fixed(estimators)
    planned = settings(estimators, plan)
    own = next(x for x in planned if x.name != REFERENCE)
    std = own_std(estimators[own.name])
    samples = Samples(system, estimators, theta, plan)
    best = search.search(samples, planned, report)
    search.compare_afresh(samples, best, own, report)
    table = rows.of_all(samples, planned)
    fresh = {x: rows.of(samples, x, fresh=True) for x in dict.fromkeys((own, best))}
    plane = landscape.plane(samples, std, plan.reach)
    chosen = _trained(estimators, own, best, plan)
    trained = [in_training(estimators[setting.name], setting, n) for setting, n in chosen]
    walks = landscape.walk(samples, plane, trained, len(fresh), report)
    walked = dict(zip(chosen, walks, strict=False))
    pairs = [
        recommendation.with_pairs(fresh[setting], n, walk.seconds)
        for (setting, n), walk in walked.items()
        if setting in fresh
    ]
    found, shown = recommendation.recommend(estimators, pairs, fresh, table)
    drawn = None
    if plan.grid:
        others = [x for x in walked if x[0] not in fresh]
        paths = {f"{x[0]}, {x[1]} pairs": walked[x].path for x in [*shown, *others]}
        drawn = landscape.survey(samples, plane, std, paths, report)
    return Diagnosis(
        rows=tuple(table),
        fresh=tuple(fresh.values()),
        pairs=tuple(pairs),
        particles=_particles(samples, own),
        landscape=drawn,
        recommendation=found,
        left_out=tuple(x for x in planned if x not in {row.setting for row in table}),
        facts=_facts(samples, plane.norm),
    )


def check(estimators: Mapping[str, GradientEstimator], plan: Plan) -> None:
    """Raise the ``ValueError`` that ``diagnose`` would raise."""
    settings(fixed(estimators), plan)


def _trained(
    estimators: Mapping[str, GradientEstimator], own: Setting, best: Setting, plan: Plan
) -> list[tuple[Setting, int]]:
    """Settings and numbers of pairs whose meta-steps are timed and drawn, the needed ones first."""
    pairs = getattr(estimators[own.name], "num_pairs", 1)
    others = [
        (Setting(name, estimator.steps_per_truncation), pairs)
        for name, estimator in estimators.items()
        if name not in (REFERENCE, own.name, best.name)
    ]
    more = [(best, n) for n in plan.num_pairs or (4 * pairs,)]
    return list(dict.fromkeys([(own, pairs), (best, pairs), *more, *others]))


def _particles(samples: Samples, own: Setting) -> dict[str, tuple[tuple[int, Value], ...]]:
    """Variance of means over more and more runs, which are independent of each other."""
    found = {}
    for setting in (samples.reference, own):
        x, points = samples.of(setting).means, []
        episodes = samples.meta_steps(setting) / samples.truncations(setting)
        size = 1
        while size == 1 or len(x) // size >= 16:
            means = x[: len(x) // size * size].reshape(-1, size, x.shape[1]).mean(axis=1)
            particles = 2 * samples.plan.devices.count * size
            points.append((particles, statistics.variance(means).scaled(episodes)))
            size *= 2
        found[str(setting)] = tuple(points)
    return found


def _facts(samples: Samples, norm: float) -> dict[str, Any]:
    first = next(x for name, x in samples.estimators.items() if name != REFERENCE)
    return {
        "parameters": sum(leaf.size for leaf in jax.tree.leaves(samples.theta)),
        "horizon": first.episodes.max,
        "std": std_of(first, 1.0),
        "gradient_norm": norm,
        "reference_runs": samples.count(samples.reference),
        "seconds": samples.spent,
        "devices": samples.plan.devices.count,
        "versions": identity.run_versions(),
        **identity.machine(),
    }


def _place(table: tuple[Row, ...], row: Row) -> tuple[int, int, float]:
    """Where a row stands among those of its estimator."""
    names = [x.setting.name for x in table]
    return names.index(row.setting.name), row.setting.truncation_length, row.setting.std_factor


def _printed(table: Table) -> str:
    console = Console(width=100, file=io.StringIO())
    console.print(table)
    file: Any = console.file
    return file.getvalue().rstrip()


def _listed(array: np.ndarray) -> list[Any]:
    """A table of numbers as JSON can hold it."""
    return [[rows.finite(x) for x in row] for row in array.tolist()]
