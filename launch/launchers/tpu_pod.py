"""A TPU pod's commands, as data.

On the hosts a remote shell is unavoidable: what it reads is joined by ``shlex``. The run is a
transient systemd unit, which gives what a bare ssh session does not: one run at a time, ended
whole by ``systemctl stop`` even when the connection that began it is lost, and a SIGTERM with time
to save when the host shuts down.
"""

import dataclasses
import shlex

from launch.launchers import tools

_GCLOUD = ("gcloud", "compute", "tpus")
_UNIT = "lopt"
_SAVE_SECONDS = 120
"""Between SIGTERM and SIGKILL."""
_HOME = "lopt-env"
"""The virtual environment, in the home folder, where ssh sessions begin."""


@dataclasses.dataclass(frozen=True)
class Pod:
    """A TPU pod and what runs on it; fields are the launcher's flags of the same names.

    ``words`` are the arguments of ``lopt meta-train``.
    """

    name: str
    zone: str
    accelerator_type: str
    runtime_version: str
    package: str
    words: tuple[str, ...]
    project: str | None = None
    startup_script: str | None = None
    spot: bool = False

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

    def delete(self) -> list[str]:
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
        words = ["meta-train", *tools.double_dollars(self.words), "--distributed"]
        unit = shlex.join(["sudo", "systemd-run", *options])
        program = f'--uid="$(id -un)" -- "$PWD"/{_HOME}/bin/lopt'
        return self._on_hosts(f"{_stop()}; {unit} {program} {shlex.join(words)}")

    def stop(self) -> list[str]:
        """Let every host save and stop."""
        return self._on_hosts(_stop())

    def _on_hosts(self, command: str) -> list[str]:
        ssh = [*_GCLOUD, "tpu-vm", "ssh", self.name, *self._place()]
        return [*ssh, "--worker=all", f"--command={command}"]

    def _queued_resource(self, verb: str) -> list[str]:
        return [*_GCLOUD, "queued-resources", verb, self.name, *self._place()]

    def _place(self) -> list[str]:
        project = [f"--project={self.project}"] if self.project else []
        return [f"--zone={self.zone}", *project]


def _stop() -> str:
    # Nothing to stop is no failure.
    return shlex.join(["sudo", "systemctl", "stop", _UNIT]) + " 2>/dev/null || true"
