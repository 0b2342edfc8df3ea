"""``lopt reproduce``: the command line of an experiment."""

import time
from collections.abc import Sequence
from dataclasses import dataclass

from launch import errors, options, signals, workdir
from launch.options import flag

PRESETS = ("quick", "full")


@dataclass(frozen=True, kw_only=True)
class Arguments:
    """What is asked besides the name."""

    preset: str = flag(
        "quick|full",
        "within minutes on two cores, or with the paper's numbers of meta-steps and more seeds",
        default=PRESETS[0],
    )
    workdir: str | None = flag(
        "DIR",
        "where it goes, runs/reproduce/NAME-PRESET by default: results.csv (tidy: one row per "
        "measured point), figures as PNG and PDF, summary.json with the verdict, and parts/ (what "
        "is finished; from there the same command resumes after a stop)",
    )


_EXAMPLE = "lopt reproduce influence_balancing"
HELP = f"""
usage: lopt reproduce NAME [--preset=quick|full] [--workdir=DIR]

Runs an experiment of the PES paper (`lopt list experiments`): all methods that it compares, on the
same budget of inner steps and from the same seeds.

{options.help_of(Arguments)}

docs/reproduction.md holds each figure, what is expected, and why.

example: {_EXAMPLE}
"""


def run(arguments: Sequence[str]) -> int:
    """Run an experiment; returns the exit status."""
    started = time.monotonic()
    asked, (name,) = options.read(Arguments, arguments, ("NAME",), _EXAMPLE)
    preset = asked.preset
    if preset not in PRESETS:
        raise errors.unknown("--preset", preset, PRESETS)

    import tasks
    from meta_train import process
    from meta_train.evaluation.result_progress import ResultProgress
    from meta_train.experiments import EXPERIMENTS
    from meta_train.experiments.run import reproduce

    if name not in EXPERIMENTS:
        raise errors.unknown("experiment", name, EXPERIMENTS)
    with errors.mistakes("", tasks.MissingData):
        plan = EXPERIMENTS[name].presets[preset]()
    folder = workdir.prepare(asked.workdir or f"runs/reproduce/{name}-{preset}")
    process.keep_compiled()
    progress = ResultProgress(len(plan.parts()))
    with signals.listen(), workdir.lock(folder), errors.writing(), progress:
        found = reproduce(name, plan, folder, progress.show)
    for finding in found:
        print(finding.words)
    held = sum(finding.holds for finding in found)
    seconds = time.monotonic() - started
    print(f"{held} of {len(found)} as expected; done in {seconds:.0f} s: {folder}", flush=True)
    return errors.DONE
