"""``lopt launch tpu``: a TPU pod as a queued resource of Google Cloud.

On the hosts a remote shell is unavoidable: what it reads is joined by ``shlex``. The run is a
transient systemd unit, which gives what a bare ssh session does not: one run at a time, ended
whole by ``systemctl stop`` even when the connection that began it is lost, and a SIGTERM with time
to save when the host shuts down.
"""

import shlex
import subprocess
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from launch import errors, options
from launch.launchers import common
from launch.launchers.backoff import POLL_SECONDS, Failure, StopCount, say, seconds, try_until_done
from launch.options import flag

_GCLOUD = ("gcloud", "compute", "tpus")
_UNIT = "lopt"
_SAVE_SECONDS = 120
"""Between SIGTERM and SIGKILL."""
_HOME = "lopt-env"
"""The virtual environment, in the home folder, where ssh sessions begin."""
_STOP = f"sudo systemctl stop {_UNIT} 2>/dev/null || true"
"""Nothing to stop is no failure."""
_ABSENT = "ABSENT"
_GONE = ("SUSPENDED", "FAILED")
"""States that a queued resource does not leave by itself."""


@dataclass(frozen=True, kw_only=True)
class Pod(common.Launch):
    """A TPU pod, and the commands that make it, run on it and remove it."""

    name: str = flag(
        "NAME", "names the queued resource and its TPU; one that exists is used", example="mnist"
    )
    zone: str = flag("ZONE", "where it is", example="us-west4-a")
    project: str | None = flag("PROJECT", "whose it is; by default gcloud's own")
    accelerator_type: str = flag(
        "TYPE", "see `gcloud compute tpus accelerator-types list`", example="v5litepod-16"
    )
    runtime_version: str = flag(
        "VERSION", "v2-alpha-tpuv5-lite, tpu-ubuntu2204-base, ...", example="v2-alpha-tpuv5-lite"
    )
    package: str = flag(
        "PACKAGE",
        "what pip installs on every host",
        example="'lopt[train,tpu,gcs] @ git+https://...'",
    )
    spot: bool = flag("", "take Spot capacity; a TPU that is preempted is requested anew")
    startup_script: str | None = flag(
        "FILE", "runs on every host as root when it starts, to mount the shared storage"
    )
    delete: bool = flag("", "delete the TPU when this command ends, however it ends")

    def create(self) -> list[str]:
        """Request it."""
        command = self._queued_resource("create")
        command += [f"--node-id={self.name}", f"--accelerator-type={self.accelerator_type}"]
        command += [f"--runtime-version={self.runtime_version}"]
        if self.spot:
            command.append("--spot")
        if self.startup_script:
            command.append(f"--metadata-from-file=startup-script={self.startup_script}")
        return command

    def describe(self) -> list[str]:
        """Print its state."""
        return [*self._queued_resource("describe"), "--format=value(state.state)"]

    def remove(self) -> list[str]:
        """Delete it, the hosts included."""
        return [*self._queued_resource("delete"), "--force", "--quiet"]

    def install(self) -> list[str]:
        """Install the package on every host; uv brings a Python that is new enough."""
        uv = ["python3", "-m", "uv"]
        steps = [
            ["python3", "-m", "pip", "install", "--quiet", "--user", "uv"],
            [*uv, "venv", "--quiet", "--allow-existing", "--python", "3.12", _HOME],
            [*uv, "pip", "install", "--quiet", "--python", _HOME, self.package],
        ]
        return self._on_hosts(" && ".join(map(shlex.join, steps)))

    def start(self) -> list[str]:
        """Run on every host, after ending what an earlier try may have left there."""
        options = ["--quiet", "--collect", "--wait", "--pipe", "--same-dir", f"--unit={_UNIT}"]
        options += ["--property=KillMode=mixed", f"--property=TimeoutStopSec={_SAVE_SECONDS}"]
        words = ["meta-train", *common.double_dollars(self.words), "--distributed"]
        unit = shlex.join(["sudo", "systemd-run", *options])
        program = f'--uid="$(id -un)" -- "$PWD"/{_HOME}/bin/lopt'
        return self._on_hosts(f"{_STOP}; {unit} {program} {shlex.join(words)}")

    def stop(self) -> list[str]:
        """Let every host save and stop."""
        return self._on_hosts(_STOP)

    def _on_hosts(self, command: str) -> list[str]:
        ssh = [*_GCLOUD, "tpu-vm", "ssh", self.name, *self._place()]
        return [*ssh, "--worker=all", f"--command={command}"]

    def _queued_resource(self, verb: str) -> list[str]:
        return [*_GCLOUD, "queued-resources", verb, self.name, *self._place()]

    def _place(self) -> list[str]:
        project = [f"--project={self.project}"] if self.project else []
        return [f"--zone={self.zone}", *project]


HELP = f"""
usage: lopt launch tpu --name=NAME --zone=ZONE --accelerator_type=TYPE --runtime_version=VERSION
         --package=PACKAGE [FLAGS] -- --config=CONFIG --workdir=gs://BUCKET/... [...]

{options.help_of(Pod)}

This command waits until the TPU is there, installs, runs `lopt meta-train` on all hosts and stays
with it. --workdir is in a bucket that the TPU's service account may write to, or on a file system
that the startup script mounts on every host and lets you write to: Filestore, NFS, Lustre.

Ctrl-C or SIGTERM: the hosts save and stop, status 75; the same command resumes. A second one leaves
the hosts to themselves.

Exit status: 0 done, 2 your mistake, 75 stopped by a signal after saving, 1 failed in every try.

Common failures
  waits for long              no capacity: another zone or --spot, or wait; Ctrl-C loses nothing,
                              the request stays in the queue
  FAILED                      `gcloud compute tpus queued-resources describe NAME` says why: quota,
                              an accelerator type that the zone has not, a wrong runtime version
  ssh: permission denied      your account needs the roles TPU Admin and Service Account User
  status 255                  the connection was lost; the hosts are stopped and started again
  cannot be reached, locked   the service account needs the role Storage Object User
  cannot be written           the startup script has not mounted the storage, or not for you:
                              `sudo journalctl -u google-startup-scripts` on a host says why
  "already in use"            another program holds the TPU: end it, or delete the TPU

example: lopt launch tpu --name=mnist --zone=us-west4-a --accelerator_type=v5litepod-16
           --runtime_version=v2-alpha-tpuv5-lite --spot --delete
           --package='lopt[train,tpu,gcs] @ git+https://github.com/me/lopt'
           -- --config=mnist_mlp_pes --workdir=gs://me-runs/mnist
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
    return _supervise(pod)


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


def _supervise(pod: Pod) -> int:
    """Run on the pod until the run is done; a pod that is lost counts as a failed try.

    Returns:
        The exit status: done, the user's mistake, stopped after saving, or 128 + the number of a
        second signal.

    Raises:
        RunFailed: the last try failed too, or gcloud cannot be used at all.
    """
    with StopCount() as stop:
        _state(pod)  # what is wrong with gcloud or the account is said before any try
        try:
            return try_until_done(_Tries(pod, stop).attempt, pod.max_restarts, stop)
        finally:
            if pod.delete:
                _call(pod.remove())


class _Tries:
    def __init__(self, pod: Pod, stop: StopCount) -> None:
        self._pod = pod
        self._stop = stop
        self._installed = False

    def attempt(self) -> int:
        """Use the pod once, up to the first request to stop."""
        self._await_active()
        if not self._installed and not self._stop.count:
            _must(self._pod.install())
            self._installed = True
        status = errors.STOPPED if self._stop.count else self._run()
        if status not in (errors.DONE, errors.USER_ERROR):
            raise Failure(f"the run ended with status {status}")
        return status

    def _await_active(self) -> None:
        created, looks = False, 0
        while not self._stop.count and (state := _state(self._pod)) != "ACTIVE":
            if state in _GONE:
                if created:
                    raise Failure(f"the queued resource {self._pod.name} is {state}")
                _must(self._pod.remove())
            if state in (_ABSENT, *_GONE):
                _must(self._pod.create())
                created, self._installed = True, False
            looks += 1
            wait = seconds(looks)
            say(f"{self._pod.name} was {state}; next look in {wait:g} s")
            self._stop.wait(wait)

    def _run(self) -> int:
        # In a session of its own, so that Ctrl-C does not end the connection before the hosts have
        # saved.
        process = subprocess.Popen(
            self._pod.start(), stdin=subprocess.DEVNULL, start_new_session=True
        )
        forwarded = False
        while process.poll() is None:
            if self._stop.count and not forwarded:
                forwarded = True
                say("the hosts save and stop; again to leave them to themselves")
                _call(self._pod.stop())
            if self._stop.count > 1:
                process.kill()
            time.sleep(POLL_SECONDS)
        return process.returncode


def _state(pod: Pod) -> str:
    result = subprocess.run(pod.describe(), capture_output=True, text=True, check=False)
    if result.returncode == 0:
        return result.stdout.strip()
    if "NOT_FOUND" in result.stderr:
        return _ABSENT
    raise Failure(f"gcloud cannot describe {pod.name}: {result.stderr.strip()}")


def _must(command: list[str]) -> None:
    if status := _call(command):
        raise Failure(f"`{shlex.join(command)}` ended with status {status}")


def _call(command: list[str]) -> int:
    return subprocess.run(command, check=False).returncode
