"""``lopt meta-train``: meta-train a learned optimizer from a config file.

``python -m launch.meta_train`` is the same command.
"""

import sys
from collections.abc import Sequence

from absl import flags

from launch import cli, configuration, errors, options, overrides, workdir

HELP = """
usage: lopt meta-train --config=CONFIG --workdir=DIR [--config.FIELD=VALUE ...]

  --config=CONFIG        a packaged config by its short name (`lopt list configs`), the path of a
                         .py file with get_config(), or a config.json that a run has written
  --config.FIELD=VALUE   change one field: --config.estimator.std=0.02 --config.tasks=mnist_mlp
                         (configs/base.py describes every field)
  --workdir=DIR          where the run goes: config.json, metrics.jsonl, events/, plots, and at
                         the end bundle/, the optimizer with the best meta-validation

example: lopt meta-train --config=digits_mlp_pes --workdir=runs/digits
"""


def run(arguments: Sequence[str]) -> int:
    """Meta-train; returns the exit status."""
    spec, rest = overrides.split_config(arguments)
    if not spec:
        raise errors.UserError(
            "--config is missing; for instance --config=digits_mlp_pes (`lopt list configs`)"
        )
    values = flags.FlagValues()
    flags.DEFINE_string("workdir", None, "Where the run goes.", flag_values=values)
    config = configuration.load(spec)
    rest = overrides.take_tasks(config, rest)
    overrides.define(config, rest, values)
    options.parse(rest, values)
    if not values["workdir"].value:
        raise errors.UserError("--workdir is missing; for instance --workdir=runs/digits")
    config = configuration.complete(config.to_dict())
    folder = workdir.prepare(values["workdir"].value)

    from launch import run as run_module  # imports JAX: everything cheap is checked by now

    run_module.run(config, folder)
    return errors.DONE


if __name__ == "__main__":
    sys.exit(cli.main(["meta-train", *sys.argv[1:]]))
