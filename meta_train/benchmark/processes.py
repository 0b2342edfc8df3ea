"""The processes that are measured, seen from the one that asks them."""

import contextlib
import json
import os
import subprocess
import tempfile
import time
from collections.abc import Mapping, Sequence
from typing import IO, Any

from meta_train.benchmark.protocol import Failed


class Worker:
    """A process that serves ``protocol``.

    Args:
        words: that start it.
        environment: where it differs from that of this process.
        order: its first line.

    Raises:
        Failed: it ends before it has answered.
    """

    def __init__(
        self, words: Sequence[str], environment: Mapping[str, str], order: Mapping[str, Any]
    ) -> None:
        self._errors: IO[str] = tempfile.TemporaryFile("w+")  # noqa: SIM115
        self._process = subprocess.Popen(
            words,
            env={**os.environ, **environment},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            text=True,
        )
        self.details = self._send({**order, "started": time.time()})
        """Its first answer."""

    def ask(self, name: str, argument: Any = None) -> dict[str, Any]:
        """Ask for an action and wait for the answer.

        Raises:
            Failed: it ends instead.
        """
        return self._send([name, argument])

    def close(self) -> None:
        """Let it end."""
        self._process.communicate()
        self._errors.close()

    def _send(self, line: Any) -> dict[str, Any]:
        assert self._process.stdin
        assert self._process.stdout
        with contextlib.suppress(BrokenPipeError):  # it has ended, and answers nothing
            print(json.dumps(line), file=self._process.stdin, flush=True)
        answer = self._process.stdout.readline()
        if not answer:
            status = self._process.wait()
            self._errors.seek(0)
            said = self._errors.read().strip().splitlines() or ["nothing"]
            raise Failed(f"ended with status {status}: {said[-1]}")
        return json.loads(answer)
