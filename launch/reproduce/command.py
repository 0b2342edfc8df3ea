"""``lopt reproduce``: the command line of an experiment."""

from collections.abc import Sequence

from absl import flags

from launch import errors, options, workdir

PRESETS = ("quick", "full")
HELP = """
usage: lopt reproduce NAME [--preset=quick|full] [--workdir=DIR]

Runs an experiment of the PES paper (`lopt list experiments`): all methods that it compares, on the
same budget of inner steps and from the same seeds.

  --preset=quick   the default; within minutes on two cores
  --preset=full    with the paper's numbers of meta-steps, and more seeds
  --workdir=DIR    where it goes, runs/reproduce/NAME-PRESET by default: results.csv (tidy: one row
                   per measured point), NAME.png and NAME.pdf, summary.json with the verdict, parts/
                   (finished runs, from which the same command goes on where it was stopped)

docs/reproduction.md holds each figure, what is expected, and why.

example: lopt reproduce influence_balancing
"""


def run(arguments: Sequence[str]) -> int:
    """Run an experiment; returns the exit status."""
    values = flags.FlagValues()
    flags.DEFINE_string("workdir", None, "Where it goes.", flag_values=values)
    flags.DEFINE_string("preset", PRESETS[0], "How much.", flag_values=values)
    words = options.parse(arguments, values, positional=("NAME",))
    if not words:
        raise errors.UserError("NAME is missing; for instance `lopt reproduce influence_balancing`")
    preset = values["preset"].value
    if preset not in PRESETS:
        raise errors.unknown("--preset", preset, PRESETS)

    from launch.reproduce import run as run_module
    from launch.reproduce.experiments import EXPERIMENTS

    (name,) = words
    if name not in EXPERIMENTS:
        raise errors.unknown("experiment", name, EXPERIMENTS)
    folder = workdir.prepare(values["workdir"].value or f"runs/reproduce/{name}-{preset}")
    run_module.reproduce(name, EXPERIMENTS[name], preset, folder)
    return errors.DONE
