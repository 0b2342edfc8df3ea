"""``lopt launch``: meta-train with several processes or on a cluster."""

import importlib
from collections.abc import Sequence

from launch import errors
from launch.launchers import LAUNCHERS

HELP = """
usage: lopt launch LAUNCHER [FLAGS] -- --config=CONFIG --workdir=DIR [ARGUMENTS OF meta-train]

  local    several processes on this machine
  slurm    a Slurm job that is requeued until it is done
  gke      a JobSet on Kubernetes: TPU, GPU or CPU hosts
  tpu      a TPU pod as a queued resource of Google Cloud

What stands after `--` is handed to `lopt meta-train` unchanged. Every launcher has --dry_run, which
prints what it would run and runs nothing, and --max_restarts: a run that fails is started again, a
little later every time, and goes on from its last checkpoint; a mistake of yours (status 2) is not.

`lopt launch LAUNCHER --help` shows the flags, an example, and common failures with their remedies.

example: lopt launch local --processes=2 -- --config=digits_mlp_pes --workdir=runs/digits
"""


def help_for(arguments: Sequence[str]) -> str:
    """The named launcher's help, or this command's where none is named."""
    name = arguments[0]
    return importlib.import_module(LAUNCHERS[name][0]).HELP if name in LAUNCHERS else HELP


def run(arguments: Sequence[str]) -> int:
    """Call one launcher; returns its exit status."""
    if not arguments:
        raise errors.UserError(f"say which launcher: {', '.join(LAUNCHERS)}")
    name, *rest = arguments
    if name not in LAUNCHERS:
        raise errors.unknown("launcher", name, LAUNCHERS)
    return importlib.import_module(LAUNCHERS[name][0]).run(rest)
