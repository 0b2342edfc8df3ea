"""One experiment: every method with every seed, then table, figure and verdict."""

import csv
import io
import json
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np

from launch import cache, errors, signals, workdir
from launch.evaluate.progress import EvaluationProgress
from launch.reproduce.experiments import Expected, Experiment, Method, Preset
from meta_train import MetaTrainer
from meta_train.evaluation import Store, identity
from meta_train.evaluation.store import write_atomically
from meta_train.figures import panels, styles
from meta_train.figures.panels import Band, Panel

RESULTS, SUMMARY = "results.csv", "summary.json"
COLUMNS = ("experiment", "method", "seed", "meta_step", "inner_steps", "loss")
_POINTS = 50
"""Of every curve."""
_HIGHEST = 1e6
"""Losses above are not drawn."""

Curves = dict[str, np.ndarray]
"""Losses by method [seeds, points]."""


def reproduce(name: str, experiment: Experiment, preset_name: str, folder: Path) -> None:
    """Run an experiment and write everything into ``folder``; what is finished there is kept.

    Args:
        name: of the experiment.
        experiment: the experiment.
        preset_name: one of its presets.
        folder: work folder.

    Raises:
        UserError: another command writes into the folder.
        RunFailed: results cannot be written.
    """
    started, preset = time.monotonic(), experiment.presets[preset_name]
    cache.enable()
    with signals.listen(), workdir.lock(folder), errors.writing():
        store = Store([folder / "parts"])
        print(
            f"{name}: {', '.join(experiment.methods)}, {preset.meta_steps:,} meta-steps with each "
            f"of {preset.num_seeds} seeds",
            flush=True,
        )
        curves = _run_all(name, experiment, preset, store)
        steps = _meta_steps(preset)
        write_atomically(folder / RESULTS, _table(name, experiment, curves, steps).encode())
        with styles.drawing():
            _draw(name, experiment, curves, steps).save(folder)
        found = [_verdict(x, curves[x.method][:, -1]) for x in experiment.expected]
        summary = {
            "experiment": name,
            "preset": preset_name,
            "expected": found,
            "versions": identity.run_versions(),
            **identity.machine(),
        }
        text = json.dumps(summary, indent=2, allow_nan=False) + "\n"
        write_atomically(folder / SUMMARY, text.encode())
    for entry in found:
        print(entry["words"])
    held = sum(entry["holds"] for entry in found)
    seconds = time.monotonic() - started
    print(f"{held} of {len(found)} as expected; done in {seconds:.0f} s: {folder}", flush=True)


def _meta_steps(preset: Preset) -> np.ndarray:
    """After which losses are measured."""
    every = max(1, preset.meta_steps // _POINTS)
    return np.arange(every, preset.meta_steps + 1, every)


def _run_all(name: str, experiment: Experiment, preset: Preset, store: Store) -> Curves:
    curves: dict[str, list[list[float]]] = {method: [] for method in experiment.methods}
    with EvaluationProgress(len(curves) * preset.num_seeds) as progress:
        for seed in range(preset.num_seeds):
            for label, method in experiment.methods.items():
                started = time.monotonic()
                losses = _run(experiment, method, preset, seed, store)
                curves[label].append(losses)
                took = time.monotonic() - started
                progress.show(f"{label}, seed {seed}: {losses[-1]:.4g} ({took:.1f} s)")
    return {label: np.asarray(rows) for label, rows in curves.items()}


def _run(
    experiment: Experiment, method: Method, preset: Preset, seed: int, store: Store
) -> list[float]:
    """Losses along one meta-training; from the store where it was run before."""
    key = {
        "system": repr(experiment.system),
        "estimator": repr(method.estimator),
        "meta_optimizer": [method.optimizer, method.learning_rate],
        "meta_steps": preset.meta_steps,
        "seed": seed,
        "versions": identity.run_versions(),
    }
    found = store.load_json(key)
    if found is not None:
        return [float("nan") if x is None else x for x in found]
    every = int(_meta_steps(preset)[0])
    trainer = MetaTrainer(
        [experiment.system], method.estimator, method.make_optimizer(), steps_per_dispatch=every
    )
    judge = jax.jit(lambda theta: experiment.judge(experiment.system, theta))
    state, losses = trainer.init(jax.random.key(seed)), []
    for _ in _meta_steps(preset):
        state, _ = trainer.step(state)
        losses.append(float(judge(state.theta)))
    store.save_json(key, [x if np.isfinite(x) else None for x in losses])
    return losses


def _table(name: str, experiment: Experiment, curves: Curves, steps: np.ndarray) -> str:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(COLUMNS)
    for label, rows in curves.items():
        estimator = experiment.methods[label].estimator
        particles = estimator.num_groups if _is_lone(estimator) else 2 * estimator.num_groups
        per_step = particles * estimator.steps_per_truncation
        for seed, losses in enumerate(rows):
            for step, loss in zip(steps, losses, strict=True):
                writer.writerow([name, label, seed, step, step * per_step, f"{loss:.6g}"])
    return text.getvalue()


def _is_lone(estimator: Any) -> bool:
    return hasattr(estimator, "num_particles")


def _draw(name: str, experiment: Experiment, curves: Curves, steps: np.ndarray) -> Panel:
    """Medians over seeds, with bands from the lowest to the highest; on logarithmic axes."""
    unbiased = [x for x in curves if experiment.methods[x].estimator.unbiased]
    lines = styles.lines(unbiased, [x for x in curves if x not in unbiased])
    figure, axes = panels.new(name.replace("_", " "), "meta-steps", experiment.measure, 6.0, 4.0)
    shown = {
        label: np.where(np.isfinite(rows), np.minimum(rows, _HIGHEST), _HIGHEST)
        for label, rows in curves.items()
    }
    bands = {
        label: Band(steps, np.median(rows, axis=0), rows.min(axis=0), rows.max(axis=0))
        for label, rows in shown.items()
    }
    panels.bands(axes, bands, lines)
    ends = [float(x) for rows in shown.values() for x in (rows.min(), rows.max()) if x > 0]
    panels.set_log(axes, min(ends) / 1.5, max(ends) * 1.5)
    return Panel(figure, name, f"{experiment.measure} over meta-steps: {', '.join(curves)}")


def _verdict(expected: Expected, ends: Sequence[float] | np.ndarray) -> Mapping[str, Any]:
    """Whether the losses at the end are where they are expected to be, in words too."""
    worst = np.where(np.isfinite(ends), ends, np.inf)
    holds = bool(((worst >= expected.low) & (worst <= expected.high)).all())
    span = f"{worst.min():.4g} to {worst.max():.4g}"
    wanted = f"{expected.low:.4g} to {expected.high:.4g}"
    words = f"{expected.method}: {span}, expected {wanted}: {'holds' if holds else 'DOES NOT HOLD'}"
    return {"method": expected.method, "holds": holds, "words": words}
