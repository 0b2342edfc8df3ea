"""Staying with a TPU pod: request it, wait for it, run on it, and begin again where it fails."""

import subprocess
import time

from launch import errors
from launch.launchers import backoff, tools
from launch.launchers.stopping import POLL_SECONDS, SignalCount, Tries, say
from launch.launchers.tpu_pod import Pod

_ABSENT = "ABSENT"
_GONE = ("SUSPENDED", "FAILED")
"""States that a queued resource does not leave by itself."""


def supervise(pod: Pod, *, max_restarts: int, delete: bool) -> int:
    """Run on the pod until the run is done.

    Args:
        pod: the pod and what runs on it.
        max_restarts: tries after the first; a pod that is lost counts as one.
        delete: whether the pod is deleted when this returns or raises.

    Returns:
        The exit status: done, the user's mistake, stopped after saving, or 128 + the number of a
        second signal.

    Raises:
        RunFailed: the last try failed too, or gcloud cannot be used at all.
    """
    with SignalCount() as stop:
        _state(pod)  # what is wrong with gcloud or the account is said before any try
        try:
            return _Supervisor(pod, stop).run(max_restarts)
        finally:
            if delete:
                _call(pod.delete())


class _Supervisor:
    def __init__(self, pod: Pod, stop: SignalCount) -> None:
        self._pod = pod
        self._stop = stop
        self._installed = False

    def run(self, max_restarts: int) -> int:
        tries = Tries(max_restarts, self._stop)
        for _ in tries:
            try:
                status = self._try()
            except errors.RunFailed as error:
                tries.failure = str(error)
            else:
                if status in (errors.DONE, errors.USER_ERROR):
                    return status
                tries.failure = f"the run ended with status {status}"
            if self._stop.count:
                return errors.STOPPED if self._stop.count == 1 else 128 + self._stop.number
        raise errors.RunFailed(f"{tries.failure} in the last of {max_restarts + 1} tries")

    def _try(self) -> int:
        """Use the pod once, up to the first request to stop.

        Raises:
            RunFailed: a step before the run failed.
        """
        self._await_active()
        if not self._installed and not self._stop.count:
            _must(self._pod.install())
            self._installed = True
        return errors.STOPPED if self._stop.count else self._run()

    def _await_active(self) -> None:
        created, looks = False, 0
        while not self._stop.count and (state := _state(self._pod)) != "ACTIVE":
            if state in _GONE:
                if created:
                    raise errors.RunFailed(f"the queued resource {self._pod.name} is {state}")
                _must(self._pod.delete())
            if state in (_ABSENT, *_GONE):
                _must(self._pod.create())
                created, self._installed = True, False
            looks += 1
            wait = backoff.seconds(looks)
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
    raise errors.RunFailed(f"gcloud cannot describe {pod.name}: {result.stderr.strip()}")


def _must(command: list[str]) -> None:
    status = _call(command)
    if status:
        raise errors.RunFailed(f"`{tools.shown(command)}` ended with status {status}")


def _call(command: list[str]) -> int:
    return subprocess.run(command, check=False).returncode
