"""``lopt launch tpu``: a TPU pod as a queued resource of Google Cloud."""

import shlex
from collections.abc import Sequence
from pathlib import Path

from launch import errors, options
from launch.launchers import common, queued_resource
from launch.launchers.queued_resource import Pod

HELP = f"""
usage: lopt launch tpu --name=NAME --zone=ZONE --accelerator_type=TYPE --runtime_version=VERSION
         --package=PACKAGE [FLAGS] -- --config=CONFIG --workdir=/mnt/... [...]

{options.help_of(Pod)}

This command waits until the TPU is there, installs, runs `lopt meta-train` on all hosts and stays
with it. --workdir is on a file system that the startup script mounts on every host and lets you
write to: Filestore, NFS, Lustre. Renaming a folder must be atomic there, which it is not on a
mounted bucket without a hierarchical namespace.

Ctrl-C or SIGTERM: the hosts save and stop, status 75; the same command goes on. A second one leaves
the hosts to themselves.

Exit status: 0 done, 2 your mistake, 75 stopped by a signal after saving, 1 failed in every try.

Common failures
  waits for long              no capacity: another zone or --spot, or wait; Ctrl-C loses nothing,
                              the request stays in the queue
  FAILED                      `gcloud compute tpus queued-resources describe NAME` says why: quota,
                              an accelerator type that the zone has not, a wrong runtime version
  ssh: permission denied      your account needs the roles TPU Admin and Service Account User
  status 255                  the connection was lost; the hosts are stopped and started again
  cannot be written           the startup script has not mounted the storage, or not for you:
                              `sudo journalctl -u google-startup-scripts` on a host says why
  "already in use"            another program holds the TPU: end it, or delete the TPU

example: lopt launch tpu --name=mnist --zone=us-west4-a --accelerator_type=v5litepod-16
           --runtime_version=v2-alpha-tpuv5-lite --spot --delete --startup_script=mount.sh
           --package='lopt[train,tpu] @ git+https://github.com/me/lopt'
           -- --config=mnist_mlp_pes --workdir=/mnt/runs/mnist
"""


def run(arguments: Sequence[str]) -> int:
    """Request the TPU, run on it, and start anew what fails; returns the exit status."""
    pod = common.parse(Pod, arguments)
    common.check_name(pod.name)
    if pod.accelerator_type.startswith("tpu7x"):
        raise errors.UserError(
            f"--accelerator_type={pod.accelerator_type} is no queued resource: TPU7x is reached "
            "through GKE alone; use `lopt launch gke`"
        )
    common.shared_workdir(pod.words)
    _check_script(pod.startup_script)
    if pod.dry_run:
        _print(pod)
        return errors.DONE
    common.require_program("gcloud", "see https://cloud.google.com/sdk/docs/install")
    return queued_resource.supervise(pod)


def _check_script(startup: str | None) -> None:
    if startup is None:
        return
    if not Path(startup).is_file():
        raise errors.UserError(f"--startup_script={startup} is not a file")
    if set(startup) & set(",=^"):
        raise errors.UserError(
            f"--startup_script={startup!r}: gcloud reads ',', '=' and '^' in a path as its own"
            " signs; rename the file"
        )


def _print(pod: Pod) -> None:
    steps = {
        "Unless it is there already; again after a preemption:": pod.create(),
        "Until it says ACTIVE; SUSPENDED and FAILED are deleted and created anew:": pod.describe(),
        "Once on every new TPU:": pod.install(),
        "Again, after a wait, where it fails:": pod.start(),
        "On Ctrl-C or SIGTERM:": pod.stop(),
        "At the end:" if pod.delete else "After a preemption:": pod.remove(),
    }
    for when, command in steps.items():
        print(f"# {when}\n{shlex.join(command)}")
