"""What ``lopt meta-train`` takes until its first meta-step, without compiled programs and with."""

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from meta_train.benchmark.protocol import Failed, cores

_SHORT = {
    "meta_steps": 1,
    "comparison": {"num_seeds": 0},
    "meta_validation": {"every_steps": 0},
    "profile": None,
}
"""What is not asked of a run that is to show its start."""
_FIRST = "meta-step 1/"


def measure(
    config: Mapping[str, Any], words: Sequence[str], environment: Mapping[str, str], folder: Path
) -> dict[str, Any]:
    """Start the command twice on the same config, first without compiled programs.

    Args:
        config: complete, as JSON.
        words: after the interpreter, that start ``lopt meta-train``.
        environment: where it differs from that of this process.
        folder: for what it writes.

    Returns:
        "cold" and "warm", each with "seconds" to the first meta-step, and the "peak_bytes" of a run
        of that one; "import_seconds" of ``import lopt``, Python's own start left out.
    """
    short = {name: config[name] | x if isinstance(x, dict) else x for name, x in _SHORT.items()}
    with tempfile.TemporaryDirectory(dir=folder) as own:
        file = Path(own) / "config.json"
        file.write_text(json.dumps({**config, **short}), encoding="utf-8")
        more = {**environment, "LOPT_CACHE_DIR": own}
        found = {}
        for start in ("cold", "warm"):
            run = [*words, f"--config={file}", f"--workdir={own}/{start}"]
            seconds, peak = _run(run, more, until=_FIRST)
            found[start] = {"seconds": seconds, "peak_bytes": peak}
    bare, imported = (_run(["-c", code], environment)[0] for code in ("pass", "import lopt"))
    return {**found, "import_seconds": imported - bare}


def _run(
    words: Sequence[str], environment: Mapping[str, str], until: str = ""
) -> tuple[float, int]:
    """Seconds until a line is printed (or the end), and the most memory until the end.

    Seconds are those of ``protocol.clock`` in the process.
    """
    started = time.perf_counter()
    process = subprocess.Popen(
        [sys.executable, *words],
        env={**os.environ, **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    assert process.stdout
    seconds, last = None, ""
    for line in process.stdout:
        last = line.strip() or last
        if until and seconds is None and line.startswith(until):
            elapsed = time.perf_counter() - started
            seconds = _processor_seconds(process.pid) if cores() == 1 else elapsed
    elapsed = time.perf_counter() - started
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode or (until and seconds is None):
        raise Failed(f"ended with status {process.returncode}: {last}")
    if seconds is None:
        seconds = usage.ru_utime + usage.ru_stime if cores() == 1 else elapsed
    return seconds, usage.ru_maxrss * 1024


def _processor_seconds(process: int) -> float:
    """Processor time of a process that still runs."""
    fields = Path(f"/proc/{process}/stat").read_text(encoding="utf-8").rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
