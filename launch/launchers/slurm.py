"""``lopt launch slurm``: a job that Slurm requeues until it is done."""

import re
import shlex
from collections.abc import Sequence
from dataclasses import dataclass

from launch import errors
from launch.launchers import backoff, common
from launch.options import flag, help_of


@dataclass(frozen=True, kw_only=True)
class Job(common.Launch):
    """A Slurm job."""

    nodes: int = flag("N", "nodes; each runs one process, or one for each of its GPUs", example="2")
    time: str = flag(
        "HH:MM:SS",
        "time limit of one try; 2 minutes before its end the run saves and the job is requeued",
        example="24:00:00",
    )
    gpus_per_node: int | None = flag("N", "GPUs, each with a process of its own (default 0: CPU)")
    cpus_per_task: int | None = flag("N", "CPU cores for each process")
    partition: str | None = flag("NAME", "as sbatch reads it, like the two below")
    account: str | None = flag("NAME", "who pays")
    qos: str | None = flag("NAME", "quality of service")
    name: str = flag("NAME", "the job's name", default="lopt")
    output: str = flag("FILE", "the log; every try appends to it", default="lopt-%j.out")


HELP = f"""
usage: lopt launch slurm --nodes=N --time=HH:MM:SS [FLAGS] -- --config=CONFIG --workdir=DIR [...]

{help_of(Job)}

Submit from the environment (venv, modules) in which `lopt` works: Slurm takes it along. --workdir
is an absolute path on a file system that all nodes share.

The job is requeued when it was preempted, reached its time limit, or failed, --max_restarts times
in all; never after your mistake (status 2) or `scancel`.

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
    job = common.parse(Job, arguments)
    common.shared_workdir(job.words)
    how = "run this on a login node of the cluster"
    return common.run_or_show(["sbatch"], script(job), how, job.dry_run)


def script(job: Job) -> str:
    """The job script.

    Raises:
        UserError: a value that cannot stand in an #SBATCH line.
    """
    srun = ["srun", "--kill-on-bad-exit=0", f"--wait={_GRACE_SECONDS}"]
    if job.cpus_per_task:  # which srun does not take from the job
        srun.append(f"--cpus-per-task={job.cpus_per_task}")
    delays = (f"{backoff.seconds(restart):g}" for restart in range(job.max_restarts + 1))
    return _SCRIPT.format(
        directives="\n".join(f"#SBATCH --{directive}" for directive in _directives(job)),
        max_restarts=job.max_restarts,
        delays=" ".join(delays),
        command=shlex.join([*srun, "lopt", "meta-train", *job.words, "--distributed"]),
        done=errors.DONE,
        user_error=errors.USER_ERROR,
        failed=errors.FAILED,
    )


def _directives(job: Job) -> list[str]:
    fields = {
        "job-name": job.name,
        "nodes": job.nodes,
        # In a Slurm job JAX gives each process one GPU, the one with its number on the node.
        "ntasks-per-node": job.gpus_per_node or 1,
        "gpus-per-node": job.gpus_per_node,
        "cpus-per-task": job.cpus_per_task,
        "time": job.time,
        "partition": job.partition,
        "account": job.account,
        "qos": job.qos,
        "output": job.output,
        "open-mode": "append",
        # Without B: the signal goes to the processes, not to the script, which must outlive them.
        "signal": f"TERM@{_SAVE_SECONDS}",
    }
    given = {name: value for name, value in fields.items() if value is not None}
    for name, value in given.items():
        if not _PLAIN.fullmatch(str(value)):
            raise errors.UserError(
                f"--{name.removeprefix('job-')}={value!r} stands in an #SBATCH line, which has no "
                "quotes: use letters, digits and . , : / % @ + = _ - only"
            )
    return [f"{name}={value}" for name, value in given.items()] + ["requeue"]
