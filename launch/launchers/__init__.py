"""``lopt launch``: meta-training by several processes, on one machine or on a cluster's hosts.

A launcher is a module with ``HELP`` (usage, exit statuses, common failures with their remedies) and
``run(arguments) -> exit status``. Each only starts ``lopt meta-train`` and starts it again: that a
run resumes where it was stopped is the work folder's doing.
"""

import importlib
from collections.abc import Sequence

from launch import errors

LAUNCHERS = {
    "local": "several processes on this machine",
    "slurm": "a Slurm job that is requeued until it is done",
    "gke": "a JobSet on Kubernetes: TPU, GPU or CPU hosts",
    "tpu": "a TPU pod as a queued resource of Google Cloud",
}
"""One line of help about each module in this folder that is a launcher."""

_LINES = "\n".join(f"  {name:<7}  {summary}" for name, summary in LAUNCHERS.items())

HELP = f"""
usage: lopt launch LAUNCHER [FLAGS] -- --config=CONFIG --workdir=DIR [ARGUMENTS OF meta-train]

{_LINES}

What stands after `--` is handed to `lopt meta-train` unchanged. Every launcher has --dry_run, which
prints what it would run and runs nothing, and --max_restarts: a run that fails is started again, a
little later every time, and resumes from its last checkpoint; a mistake of yours (status 2) is not.

`lopt launch LAUNCHER --help` shows the flags, an example, and common failures with their remedies.

example: lopt launch local --processes=2 -- --config=digits_mlp_pes --workdir=runs/digits
"""


def help_for(arguments: Sequence[str]) -> str:
    """The named launcher's help, or this command's where none is named."""
    name = arguments[0]
    return importlib.import_module(f"{__name__}.{name}").HELP if name in LAUNCHERS else HELP


def run(arguments: Sequence[str]) -> int:
    """Call one launcher; returns its exit status."""
    if not arguments:
        raise errors.UserError(f"say which launcher: {', '.join(LAUNCHERS)}")
    name, *rest = arguments
    if name not in LAUNCHERS:
        raise errors.unknown("launcher", name, LAUNCHERS)
    return importlib.import_module(f"{__name__}.{name}").run(rest)
