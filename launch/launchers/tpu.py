"""``lopt launch tpu``: a TPU pod as a queued resource of Google Cloud."""

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any

from absl import flags

from launch import errors
from launch.launchers import common, queued_resource
from launch.launchers.queued_resource import Pod

HELP = """
usage: lopt launch tpu --name=NAME --zone=ZONE --accelerator_type=TYPE --runtime_version=VERSION
         --package=PACKAGE [FLAGS] -- --config=CONFIG --workdir=/mnt/... [...]

  --name=NAME              names the queued resource and its TPU; one that exists is used
  --zone=ZONE --project=PROJECT
  --accelerator_type=TYPE  v5litepod-16, v4-32, ...: `gcloud compute tpus accelerator-types list`
  --runtime_version=VERSION  v2-alpha-tpuv5-lite, tpu-ubuntu2204-base, ...
  --package=PACKAGE        what pip installs on every host, as in 'lopt[tpu] @ git+https://...'
  --spot                   take Spot capacity, which may be preempted
  --startup_script=FILE    runs on every host as root when it starts, to mount the shared storage
  --max_restarts=N         tries after the first (default 10), 2 s, 4 s, 8 s ... up to 5 minutes
                           later; a preempted TPU is requested anew
  --delete                 delete the TPU when this command ends, however it ends
  --dry_run                print the commands and run nothing

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
           --package='lopt[tpu] @ git+https://github.com/me/lopt'
           -- --config=mnist_mlp_pes --workdir=/mnt/runs/mnist
"""

_EXAMPLES = {
    "name": "mnist",
    "zone": "us-west4-a",
    "accelerator_type": "v5litepod-16",
    "runtime_version": "v2-alpha-tpuv5-lite",
    "package": "'lopt[tpu] @ git+https://github.com/me/lopt'",
}


def run(arguments: Sequence[str]) -> int:
    """Request the TPU, run on it, and start anew what fails; returns the exit status."""
    values = flags.FlagValues()
    for name in (*_EXAMPLES, "project", "startup_script"):
        flags.DEFINE_string(name, None, "As gcloud reads it.", flag_values=values)
    for name in ("spot", "delete"):
        flags.DEFINE_bool(name, False, "See the help.", flag_values=values)
    common.define(values, max_restarts=10)
    given, words = common.parse(arguments, values)
    _check(given, words)
    names = [field.name for field in fields(Pod) if field.name != "words"]
    pod = Pod(**{name: given[name] for name in names}, words=tuple(words))
    if given["dry_run"]:
        _print(pod, given["delete"])
        return errors.DONE
    common.require_program("gcloud", "see https://cloud.google.com/sdk/docs/install")
    return queued_resource.supervise(
        pod, max_restarts=given["max_restarts"], delete=given["delete"]
    )


def _check(given: Mapping[str, Any], words: Sequence[str]) -> None:
    common.require(given, **_EXAMPLES)
    common.check_name(given["name"])
    common.shared_workdir(words)
    startup = given["startup_script"]
    if startup is None:
        return
    if not Path(startup).is_file():
        raise errors.UserError(f"--startup_script={startup} is not a file")
    if set(startup) & set(",=^"):
        raise errors.UserError(
            f"--startup_script={startup!r}: gcloud reads ',', '=' and '^' in a path as its own"
            " signs; rename the file"
        )


def _print(pod: Pod, delete: bool) -> None:
    steps = {
        "Unless it is there already; again after a preemption:": pod.create(),
        "Until it says ACTIVE; SUSPENDED and FAILED are deleted and created anew:": pod.describe(),
        "Once on every new TPU:": pod.install(),
        "Again, after a wait, where it fails:": pod.start(),
        "On Ctrl-C or SIGTERM:": pod.stop(),
        "At the end:" if delete else "After a preemption:": pod.delete(),
    }
    for when, command in steps.items():
        print(f"# {when}\n{shlex.join(command)}")
