"""``lopt calibrate``: the command line of a calibration."""

import shlex
from collections.abc import Sequence
from dataclasses import dataclass

from configs.base import RunConfig
from launch import errors, options, overrides, workdir
from launch.options import flag


@dataclass(frozen=True, kw_only=True)
class Arguments:
    """What is asked besides the config."""

    workdir: str = flag(
        "DIR",
        "where it goes: calibrated.json (settings, and how they were found), parts/ (finished "
        "trials, from which the same command goes on)",
        example="runs/calibrated",
    )
    baselines: tuple[str, ...] = flag(
        "NAMES", "of `lopt list baselines`, which are the default, or of Optax", default=()
    )
    num_steps: int = flag("N", "inner steps of every training run", default=1000)
    num_seeds: int = flag("N", "training runs of every trial on each task", default=5)
    num_grid: int = flag("N", "trials of the learning rate alone, over its range", default=10)
    num_random: int = flag(
        "N",
        "random trials of all hyperparameters near the best learning rate",
        default=10,
        least=0,
    )
    workers: int | None = flag("N", "tasks at a time; by default one per core of a CPU, else one")


_CONFIG = {
    "--config=CONFIG": "a meta-training config; each of its tasks counts alike",
    "--config.FIELD=VALUE": "change one field: --config.tasks=patches_mlp_family,bigram_family",
}
HELP = f"""
usage: lopt calibrate --config=CONFIG --workdir=DIR [--FLAG=VALUE ...]

Finds for each baseline the ONE setting of its hyperparameters that is best over many tasks: what it
is worth where nobody tunes it. In `lopt evaluate` a baseline with "calibrated": DIR has that
setting.

{options.help_of(Arguments, _CONFIG)}

The lowest mean, over tasks and seeds, of log(mean training loss / first loss of the run) wins. A
ratio below 1e-6 counts as that, one above 10 and a run that diverges as 10. Exit status: 0 done, 75
stopped by Ctrl-C or SIGTERM, run it again to go on; 2 your mistake, 1 a failure.

example: lopt calibrate --config=general --workdir=runs/calibrated
"""


def run(arguments: Sequence[str]) -> int:
    """Calibrate; returns the exit status."""
    config, rest = overrides.resolve(arguments, RunConfig, "general")
    asked, _ = options.read(Arguments, rest)
    folder = workdir.prepare(asked.workdir)

    from launch.evaluate import calibration  # imports JAX: all that is cheap is checked
    from meta_train.evaluation import BASELINES

    command = shlex.join(["lopt", "calibrate", *_without_workdir(arguments)])
    plan = calibration.Plan(
        asked.num_steps, asked.num_seeds, asked.num_grid, asked.num_random, asked.workers, command
    )
    calibration.calibrate_all(config, asked.baselines or tuple(BASELINES), plan, folder)
    return errors.DONE


def _without_workdir(arguments: Sequence[str]) -> list[str]:
    """The words that say what is done; not where, which is about a machine."""
    kept, words = [], iter(arguments)
    for word in words:
        flag, equals, _ = word.partition("=")
        if flag.lstrip("-") != "workdir":
            kept.append(word)
        elif not equals:
            next(words, None)
    return kept
