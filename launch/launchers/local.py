"""``lopt launch local``: several processes on this machine, supervised."""

import os
import socket
import sys
from collections.abc import Sequence
from pathlib import Path

from absl import flags

import launch
from launch import errors
from launch.launchers import arguments as launcher_arguments
from launch.launchers import supervisor, tools

HELP = """
usage: lopt launch local --processes=N [FLAGS] -- --config=CONFIG --workdir=DIR [...]

  --processes=N          how many processes share the particles
  --cores_per_process=N  CPU cores that each is pinned to (default: this machine's, split evenly;
                         pinning needs Linux)
  --max_restarts=N       tries after the first (default 3), 2 s, 4 s, 8 s ... later
  --dry_run              print the processes' commands and run nothing

Process 0 writes to this terminal; lines of process 1 begin with [1]. When one process dies, the
others may take 30 s to end by themselves; then all are started again and go on from the last
checkpoint. Ctrl-C or SIGTERM is handed on once: the processes save and end; a second one kills
them. No process outlives this command, even if it is killed.

For CPU cores, and to try out several processes: on a machine with GPUs or a TPU, one process, a
plain `lopt meta-train`, drives all of them.

Exit status: 0 done, 2 your mistake, 75 stopped by a signal after saving (the same command goes
on), 1 failed in every try.

Common failures
  ended by SIGKILL        out of memory: fewer processes, or smaller config.estimator.num_pairs
  ended by SIGABRT        it has lost another process; that one's last lines say why
  all tries fail alike    run `lopt meta-train` with the same arguments and no launcher
  slower than without     on one machine, one process uses all cores too

example: lopt launch local --processes=2 -- --config=digits_mlp_pes --workdir=runs/digits
"""


def run(arguments: Sequence[str]) -> int:
    """Run and supervise the processes; returns the exit status."""
    values = flags.FlagValues()
    flags.DEFINE_integer("processes", None, "How many.", lower_bound=1, flag_values=values)
    flags.DEFINE_integer(
        "cores_per_process", None, "Cores of each.", lower_bound=1, flag_values=values
    )
    launcher_arguments.define_common(values, max_restarts=3)
    given, words = launcher_arguments.parse(arguments, values)
    launcher_arguments.require(given, processes="2")
    processes = given["processes"]
    cores = split_cores(processes, given["cores_per_process"])
    if given["dry_run"]:
        _print(commands(words, processes, "PORT"), cores)
        return errors.DONE
    return supervisor.supervise(
        lambda: commands(words, processes, str(_free_port())),
        max_restarts=given["max_restarts"],
        cores=cores,
    )


def commands(words: Sequence[str], processes: int, port: str) -> list[list[str]]:
    """What every process runs.

    Args:
        words: the arguments of ``lopt meta-train``.
        processes: how many there are.
        port: where process 0 waits for the others.
    """
    common = [f"--coordinator_address=127.0.0.1:{port}", f"--num_processes={processes}"]
    return [
        [*_meta_train(), *words, *common, f"--process_id={process}"] for process in range(processes)
    ]


def split_cores(processes: int, each: int | None) -> list[list[int]] | None:
    """The cores of every process; None where the system cannot pin.

    Args:
        processes: how many there are.
        each: how many cores each gets; None for an even share. Where there are fewer cores than
            processes, several processes share one.

    Raises:
        UserError: more cores than there are.
    """
    if not hasattr(os, "sched_getaffinity"):
        if each:
            raise errors.UserError("--cores_per_process: this system cannot pin; leave it out")
        return None
    available = sorted(os.sched_getaffinity(0))
    if each and each * processes > len(available):
        raise errors.UserError(
            f"--cores_per_process={each} times --processes={processes} is more than the"
            f" {len(available)} cores there are"
        )
    each = each or max(1, len(available) // processes)
    return [
        [available[i % len(available)] for i in range(process * each, (process + 1) * each)]
        for process in range(processes)
    ]


def _meta_train() -> list[str]:
    """This very installation's ``lopt meta-train``.

    Python's -P keeps a launch.py in the user's folder from being taken for this package; only
    where the package itself is run from the current folder must that folder be searched.
    """
    here = Path(launch.__file__).resolve().parent.parent == Path.cwd().resolve()
    return [sys.executable, *([] if here else ["-P"]), "-m", "launch.cli", "meta-train"]


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def _print(lines: Sequence[Sequence[str]], cores: Sequence[Sequence[int]] | None) -> None:
    print("# PORT is a free one, chosen anew for every try.")
    for process, line in enumerate(lines):
        where = f", cores {','.join(map(str, cores[process]))}" if cores else ""
        print(f"# process {process}{where}\n{tools.shown(line)}")
