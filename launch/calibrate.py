"""``lopt calibrate``: the command line of a calibration."""

import shlex
from collections.abc import Sequence
from typing import Any

from absl import flags

from configs.base import RunConfig
from launch import errors, options, overrides, workdir

HELP = """
usage: lopt calibrate --config=CONFIG --workdir=DIR [--FLAG=VALUE ...]

Finds for each baseline the ONE setting of its hyperparameters that is best over many tasks: what it
is worth where nobody tunes it. In `lopt evaluate` a baseline {"name": NAME, "calibrated": DIR} has
that setting.

  --config=CONFIG        a meta-training config; each of its tasks counts alike
  --config.FIELD=VALUE   change one field: --config.tasks=patches_mlp_family,bigram_family
  --workdir=DIR          where it goes: calibrated.json (settings, and how they were found), parts/
                         (finished trials, from which the same command goes on)
  --baselines=NAMES      of `lopt list baselines`, which are the default, or of Optax
  --num_steps=1000       inner steps of every training run
  --num_seeds=5          training runs of every trial on each task
  --num_grid=10          trials of the learning rate alone, over its whole range
  --num_random=10        random trials of all hyperparameters near the best learning rate
  --workers=N            tasks at a time; by default one per core of a CPU, else one

The lowest mean, over tasks and seeds, of log(mean training loss / first loss of the run) wins. A
ratio below 1e-6 counts as that, one above 10 and a run that diverges as 10. Exit status: 0 done, 75
stopped by Ctrl-C or SIGTERM, run it again to go on; 2 your mistake, 1 a failure.

example: lopt calibrate --config=general --workdir=runs/calibrated
"""

_NUMBERS = {
    "num_steps": (1000, 1),
    "num_seeds": (5, 1),
    "num_grid": (10, 1),
    "num_random": (10, 0),
    "workers": (None, 1),
}
"""Flags: default and least value."""


def run(arguments: Sequence[str]) -> int:
    """Calibrate; returns the exit status."""
    values = flags.FlagValues()
    flags.DEFINE_string("workdir", None, "Where it goes.", flag_values=values)
    flags.DEFINE_list("baselines", None, "What is calibrated.", flag_values=values)
    for name, (default, _) in _NUMBERS.items():
        flags.DEFINE_integer(name, default, "See HELP.", flag_values=values)
    config, rest = overrides.resolve(arguments, RunConfig, "general")
    options.parse(rest, values)
    if not values["workdir"].value:
        raise errors.UserError("--workdir is missing; for instance --workdir=runs/calibrated")
    for name, (_, least) in _NUMBERS.items():
        given = values[name].value
        if given is not None and given < least:
            raise errors.UserError(f"--{name}={given} must be at least {least}")
    folder = workdir.prepare(values["workdir"].value)

    from launch.evaluate import calibration  # imports JAX: all that is cheap is checked
    from meta_train.evaluation import BASELINES

    command = shlex.join(["lopt", "calibrate", *_without_workdir(arguments)])
    numbers: dict[str, Any] = {name: values[name].value for name in _NUMBERS}
    plan = calibration.Plan(**numbers, command=command)
    calibration.calibrate_all(config, values["baselines"].value or list(BASELINES), plan, folder)
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
