"""``lopt meta-train``: meta-train a learned optimizer from a config file.

``python -m launch.meta_train`` is the same command.
"""

import sys
from collections.abc import Sequence
from dataclasses import dataclass

from configs.base import RunConfig
from launch import cli, distributed, errors, options, overrides, workdir
from launch.options import flag


@dataclass(frozen=True, kw_only=True)
class Arguments(distributed.Process):
    """What is asked besides the config."""

    workdir: str = flag(
        "DIR",
        "where the run goes: config.json, metrics.jsonl, events/, checkpoints/, plots, and at the "
        "end bundle/, the optimizer with the best meta-validation. A run that was stopped there "
        "resumes by itself; a second one is refused while one is running",
        example="runs/digits",
    )
    restore_from: str | None = flag(
        "DIR", "start a new run from the newest checkpoint in another run's folder"
    )
    allow_config_change: bool = flag(
        "", "resume from a checkpoint of another config; says what is kept"
    )


_CONFIG = {
    "--config=CONFIG": "a packaged config by its short name (`lopt list configs`), the path of a "
    ".py file with get_config(), or a config.json that a run has written",
    "--config.FIELD=VALUE": "change one field: --config.estimator.std=0.02 "
    "--config.tasks=mnist_mlp (configs/base.py describes every field)",
}
HELP = f"""
usage: lopt meta-train --config=CONFIG --workdir=DIR [--config.FIELD=VALUE ...] [FLAGS]

{options.help_of(Arguments, _CONFIG)}

Ctrl-C or SIGTERM: the meta-step is finished and saved, and the command ends with status 75; run it
again to resume. A second one ends it at once. Other statuses: 0 done, 2 your mistake, 1 a failure.

example: lopt meta-train --config=digits_mlp_pes --workdir=runs/digits
"""


def run(arguments: Sequence[str]) -> int:
    """Meta-train; returns the exit status."""
    config, rest = overrides.resolve(arguments, RunConfig, "digits_mlp_pes")
    asked, _ = options.read(Arguments, rest)
    processes = distributed.check(asked)
    folder = workdir.prepare(asked.workdir)

    from launch import run as run_module  # imports JAX: everything cheap is checked by now

    if processes is not None:
        distributed.join(processes)
    stopped = run_module.run(
        config,
        folder,
        restore_from=asked.restore_from,
        allow_config_change=asked.allow_config_change,
    )
    if processes is not None:
        distributed.leave()
    return errors.STOPPED if stopped else errors.DONE


if __name__ == "__main__":
    sys.argv.insert(1, "meta-train")
    sys.exit(cli.entry())
