"""``lopt launch slurm``: a job that Slurm requeues until it is done."""

import re
import shlex
from collections.abc import Mapping, Sequence
from typing import Any

from absl import flags

from launch import errors
from launch.launchers import backoff, common

HELP = """
usage: lopt launch slurm --nodes=N --time=HH:MM:SS [FLAGS] -- --config=CONFIG --workdir=DIR [...]

  --nodes=N              nodes; each runs one process, or one for each of its GPUs
  --time=HH:MM:SS        time limit of one try; 2 minutes before its end the run saves and the job
                         is requeued
  --gpus_per_node=N      GPUs, each with a process of its own (default 0: CPU)
  --cpus_per_task=N      CPU cores for each process
  --partition=NAME --account=NAME --qos=NAME
  --name=NAME            the job's name (default lopt)
  --output=FILE          the log (default lopt-%j.out); every try appends to it
  --max_restarts=N       requeues, preemptions among them (default 10); a requeued job waits 2 s,
                         4 s, 8 s ... up to 5 minutes before it begins
  --dry_run              print the job script and submit nothing

Submit from the environment (venv, modules) in which `lopt` works: Slurm takes it along. --workdir
is an absolute path on a file system that all nodes share.

The job is requeued when it was preempted, reached its time limit, or failed; never after your
mistake (status 2) or `scancel`.

Common failures
  sbatch: Invalid partition/account   `sinfo -s`, `sacctmgr show assoc user=$USER`
  srun: lopt: No such file            activate the environment before you submit
  hangs at the start                  the nodes cannot reach each other; ask which network interface
                                      they share, and try --nodes=1
  job requeued in held state          the node failed to start it: `scontrol release JOBID`
  "requeue ... disabled"              the partition forbids it: submit the same command again

example: lopt launch slurm --nodes=2 --gpus_per_node=4 --time=24:00:00 -- --config=mnist_mlp_pes
           --workdir=/scratch/me/mnist
"""

_SAVE_SECONDS = 120
"""Between the warning and the end of a job."""
_GRACE_SECONDS = 60
"""How long the other processes may go on after the first has ended: to save, or to notice."""
_PLAIN = re.compile(r"[\w.,:/%@+=-]+", re.ASCII)

_SCRIPT = """\
#!/bin/bash
{directives}
set -u

max_restarts={max_restarts}
delays=({delays})  # seconds before each restart
restarts=${{SLURM_RESTART_COUNT:-0}}

if (( restarts > max_restarts )); then
  echo "lopt: requeued more than $max_restarts times; giving up" >&2
  exit {failed}
fi
sleep "${{delays[restarts]}}"

{command}
status=$?

if (( status == {done} || status == {user_error} )); then
  exit "$status"
fi
if (( restarts == max_restarts )); then
  echo "lopt: status $status in the last of $((max_restarts + 1)) tries" >&2
  exit "$status"
fi
# A job that was cancelled is no longer running and stays cancelled; one that is being preempted is
# requeued by Slurm itself.
if [[ $(squeue --noheader --format=%T --jobs="$SLURM_JOB_ID") == RUNNING ]]; then
  echo "lopt: status $status; requeue $((restarts + 1)) of $max_restarts" >&2
  scontrol requeue "$SLURM_JOB_ID"
fi
exit "$status"
"""


def run(arguments: Sequence[str]) -> int:
    """Submit the job; returns the exit status."""
    values = flags.FlagValues()
    for name in ("nodes", "gpus_per_node", "cpus_per_task"):
        flags.DEFINE_integer(name, None, "How many.", lower_bound=1, flag_values=values)
    for name in ("time", "partition", "account", "qos"):
        flags.DEFINE_string(name, None, "As sbatch reads it.", flag_values=values)
    flags.DEFINE_string("name", "lopt", "The job's name.", flag_values=values)
    flags.DEFINE_string("output", "lopt-%j.out", "The log.", flag_values=values)
    common.define(values, max_restarts=10)
    given, words = common.parse(arguments, values)
    common.require(given, nodes="2", time="24:00:00")
    common.shared_workdir(words)
    how = "run this on a login node of the cluster"
    return common.run_or_show(["sbatch"], script(given, words), how, given["dry_run"])


def script(given: Mapping[str, Any], words: Sequence[str]) -> str:
    """The job script.

    Args:
        given: the values of this launcher's flags.
        words: the arguments of ``lopt meta-train``.

    Raises:
        UserError: a value that cannot stand in an #SBATCH line.
    """
    restarts = given["max_restarts"]
    srun = ["srun", "--kill-on-bad-exit=0", f"--wait={_GRACE_SECONDS}"]
    if given["cpus_per_task"]:  # which srun does not take from the job
        srun.append(f"--cpus-per-task={given['cpus_per_task']}")
    return _SCRIPT.format(
        directives="\n".join(f"#SBATCH --{directive}" for directive in _directives(given)),
        max_restarts=restarts,
        delays=" ".join(f"{backoff.seconds(restart):g}" for restart in range(restarts + 1)),
        command=shlex.join([*srun, "lopt", "meta-train", *words, "--distributed"]),
        done=errors.DONE,
        user_error=errors.USER_ERROR,
        failed=errors.FAILED,
    )


def _directives(given: Mapping[str, Any]) -> list[str]:
    gpus = given["gpus_per_node"]
    fields = {
        "job-name": _plain(given, "name"),
        "nodes": given["nodes"],
        # In a Slurm job JAX gives each process one GPU, the one with its number on the node.
        "ntasks-per-node": gpus or 1,
        "gpus-per-node": gpus,
        "cpus-per-task": given["cpus_per_task"],
        "time": _plain(given, "time"),
        "partition": _plain(given, "partition"),
        "account": _plain(given, "account"),
        "qos": _plain(given, "qos"),
        "output": _plain(given, "output"),
        "open-mode": "append",
        # Without B: the signal goes to the processes, not to the script, which must outlive them.
        "signal": f"TERM@{_SAVE_SECONDS}",
    }
    return [f"{name}={value}" for name, value in fields.items() if value is not None] + ["requeue"]


def _plain(given: Mapping[str, Any], name: str) -> str | None:
    """A value for an #SBATCH line, in which nothing can be quoted."""
    value = given[name]
    if value is not None and not _PLAIN.fullmatch(value):
        raise errors.UserError(
            f"--{name}={value!r} stands in an #SBATCH line, which has no quotes: use letters,"
            " digits and . , : / % @ + = _ - only"
        )
    return value
