"""``lopt calibrate``: the command line of a calibration."""

import shlex
from collections.abc import Sequence
from typing import Any

from absl import flags

from launch import configuration, errors, options, overrides, workdir

HELP = """
usage: lopt calibrate --config=CONFIG --workdir=DIR [--baselines=NAME,NAME] [--config.FIELD=VALUE]

Finds for each baseline the ONE setting of its hyperparameters that is best over many tasks: what
an optimizer is worth that nobody tunes. `lopt evaluate` judges it where a baseline says
{"name": NAME, "calibrated": True}; settings for the packaged tasks come with the package.

  --config=CONFIG        a meta-training config; its tasks are calibrated on, each counts alike,
                         and its seed, data_dir and imports hold
  --config.FIELD=VALUE   change one field: --config.tasks=patches_mlp_family,bigram_family
  --workdir=DIR          where it goes: calibrated.json (for each baseline its setting and how it
                         was found), parts/ (finished trials, from which the same command goes on
                         where it was stopped)
  --baselines=NAMES      of `lopt list baselines` (all of them by default), or of optax
  --num_steps=1000       inner steps of every training run
  --num_seeds=5          training runs of every trial on each task
  --num_grid=10          trials of the learning rate alone, over its whole range
  --num_random=10        random trials of all hyperparameters near the best learning rate
  --workers=N            tasks that are trained on at a time; one per core on a CPU by default,
                         else one

A setting's score is the mean, over tasks and seeds, of the logarithm of a run's mean training loss
in units of its first loss; from below a millionth and above ten times on, these count as that, and
a run that diverges as ten times.

Ctrl-C or SIGTERM: the command ends with status 75; run it again to go on. Other statuses: 0 done,
2 your mistake, 1 a failure.

example: lopt calibrate --config=general_scalars --workdir=runs/calibrated
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
    spec, rest = overrides.split_config(arguments)
    if not spec:
        raise errors.UserError("--config is missing; for instance --config=general_scalars")
    values = flags.FlagValues()
    flags.DEFINE_string("workdir", None, "Where it goes.", flag_values=values)
    flags.DEFINE_list("baselines", None, "What is calibrated.", flag_values=values)
    for name, (default, _) in _NUMBERS.items():
        flags.DEFINE_integer(name, default, "See HELP.", flag_values=values)
    config = configuration.load(spec)
    rest = overrides.take_whole(config, rest)
    overrides.define(config, rest, values)
    options.parse(rest, values)
    if not values["workdir"].value:
        raise errors.UserError("--workdir is missing; for instance --workdir=runs/calibrated")
    for name, (_, least) in _NUMBERS.items():
        given = values[name].value
        if given is not None and given < least:
            raise errors.UserError(f"--{name}={given} must be at least {least}")
    config = configuration.complete(config.to_dict())
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
