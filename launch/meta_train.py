"""``lopt meta-train``: meta-train a learned optimizer from a config file.

``python -m launch.meta_train`` is the same command.
"""

import sys
from collections.abc import Sequence

from absl import flags

from configs.base import RunConfig
from launch import cli, distributed, errors, options, overrides, workdir

HELP = """
usage: lopt meta-train --config=CONFIG --workdir=DIR [--config.FIELD=VALUE ...]

  --config=CONFIG        a packaged config by its short name (`lopt list configs`), the path of a
                         .py file with get_config(), or a config.json that a run has written
  --config.FIELD=VALUE   change one field: --config.estimator.std=0.02 --config.tasks=mnist_mlp
                         (configs/base.py describes every field)
  --workdir=DIR          where the run goes: config.json, metrics.jsonl, events/, checkpoints/,
                         plots, and at the end bundle/, the optimizer with the best
                         meta-validation. A run that was stopped there goes on by itself;
                         a second one is refused while one goes on
  --restore_from=DIR     start a new run from the newest checkpoint in another run's folder
  --allow_config_change  go on from a checkpoint of another config; says what is kept
  --distributed          share the particles with the other processes of a cluster (Slurm, Cloud
                         TPU, Kubernetes, Open MPI); or name them: --coordinator_address=HOST:PORT
                         --num_processes=N --process_id=I. `lopt launch` starts them all

Ctrl-C or SIGTERM: the meta-step is finished and saved, and the command ends with status 75; run it
again to go on. A second one ends it at once. Other statuses: 0 done, 2 your mistake, 1 a failure.

example: lopt meta-train --config=digits_mlp_pes --workdir=runs/digits
"""


def run(arguments: Sequence[str]) -> int:
    """Meta-train; returns the exit status."""
    values = flags.FlagValues()
    flags.DEFINE_string("workdir", None, "Where the run goes.", flag_values=values)
    flags.DEFINE_string("restore_from", None, "Where a new run starts.", flag_values=values)
    flags.DEFINE_bool(
        "allow_config_change", False, "Go on with another config.", flag_values=values
    )
    distributed.define(values)
    config, rest = overrides.resolve(arguments, RunConfig, "digits_mlp_pes")
    options.parse(rest, values)
    if not values["workdir"].value:
        raise errors.UserError("--workdir is missing; for instance --workdir=runs/digits")
    processes = distributed.check(values)
    folder = workdir.prepare(values["workdir"].value)

    from launch import run as run_module  # imports JAX: everything cheap is checked by now

    if processes is not None:
        distributed.join(processes)
    stopped = run_module.run(
        config,
        folder,
        restore_from=values["restore_from"].value,
        allow_config_change=bool(values["allow_config_change"].value),
    )
    if processes is not None:
        distributed.leave()
    return errors.STOPPED if stopped else errors.DONE


if __name__ == "__main__":
    sys.argv.insert(1, "meta-train")
    sys.exit(cli.entry())
