"""Several processes of one run: how they join and agree, and which one writes.

Every process runs the same program on its share of the devices; checkpoints are written by all.
Only process 0 shows anything and keeps records, plots and bundles: the others do all that too, so
that there is one program, but into a folder that is thrown away.
"""

import contextlib
import os
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from launch import errors, workdir
from launch.options import flag

if TYPE_CHECKING:
    from etils import epath

HEARTBEAT_SECONDS = 15
"""A process that has not been heard of for so long is taken for dead, and ends all others."""


@dataclass(frozen=True, kw_only=True)
class Process:
    """The flags by which a process joins others."""

    distributed: bool = flag(
        "",
        "share the particles with the other processes of a cluster (Slurm, Cloud TPU, Kubernetes, "
        "Open MPI), which `lopt launch` starts; or name them:",
    )
    coordinator_address: str | None = flag("HOST:PORT", "where process 0 can be reached")
    num_processes: int | None = flag("N", "how many processes there are")
    process_id: int | None = flag("I", "which of them this is, from 0 on", least=0)


def check(asked: Process) -> dict[str, Any] | None:
    """The arguments of ``jax.distributed.initialize``; None for a single process.

    Raises:
        UserError: flags that do not go together.
    """
    names = ("coordinator_address", "num_processes", "process_id")
    given: dict[str, Any] = {name: getattr(asked, name) for name in names}
    missing = [name for name, value in given.items() if value is None]
    if len(missing) == len(given):
        return {} if asked.distributed else None
    if missing:
        raise errors.UserError(
            f"--{missing[0]} is missing; --coordinator_address, --num_processes and --process_id "
            "go together, or give --distributed alone where a cluster can be detected"
        )
    if given["process_id"] >= given["num_processes"]:
        raise errors.UserError(
            f"--process_id={given['process_id']} must be below "
            f"--num_processes={given['num_processes']}"
        )
    host, _, port = given["coordinator_address"].rpartition(":")
    if not host or not port.isdecimal():
        raise errors.UserError(
            f"--coordinator_address={given['coordinator_address']} must be HOST:PORT"
        )
    return given


def join(arguments: dict[str, Any]) -> None:
    """Join the other processes; before JAX has started its backends.

    Raises:
        UserError: no cluster was detected.
        RunFailed: the others could not be reached.
    """
    import jax

    try:
        jax.distributed.initialize(**arguments, heartbeat_timeout_seconds=HEARTBEAT_SECONDS)
    except ValueError as error:
        raise errors.UserError(
            f"--distributed: no cluster was detected ({error}); give --coordinator_address, "
            "--num_processes and --process_id"
        ) from error
    except RuntimeError as error:
        raise errors.RunFailed(f"the other processes cannot be reached: {error}") from error


def leave() -> None:
    """Wait until every process is done; whoever ended before would end the others."""
    import jax
    from jax.experimental import multihost_utils

    multihost_utils.sync_global_devices("lopt is done")
    jax.distributed.shutdown()


@contextlib.contextmanager
def output_folder(folder: "epath.Path") -> Iterator["epath.Path"]:
    """Where this process writes what only process 0 keeps: ``folder`` there, else a passing one.

    Other processes than process 0 say nothing on stdout meanwhile.
    """
    import jax

    if not jax.distributed.is_initialized() or jax.process_index() == 0:
        yield folder
        return
    with (
        tempfile.TemporaryDirectory(prefix="lopt-") as passing,
        open(os.devnull, "w", encoding="utf-8") as nowhere,
        contextlib.redirect_stdout(nowhere),
    ):
        yield workdir.place(passing)


@contextlib.contextmanager
def lock(output: "epath.Path") -> Iterator[None]:
    """Hold the lock of this process's ``output_folder``: that of process 0 decides for all.

    Raises:
        UserError: in every process, where one of them does not get it.
    """
    with contextlib.ExitStack() as held:
        failure = None
        try:
            held.enter_context(workdir.lock(output))
        except errors.UserError as error:
            failure = error
        if any(_gather(failure is not None)):
            raise failure or errors.UserError("another process of this run cannot have the folder")
        yield


def check_agreement(meta_step: int) -> None:
    """Make sure that all processes resume from the same meta-step.

    Raises:
        RunFailed: they do not, as where they do not see the same work folder.
    """
    found = sorted(set(_gather(meta_step)))
    if len(found) > 1:
        raise errors.RunFailed(
            f"the processes would resume from different meta-steps ({found}); --workdir must be "
            "one folder that all of them share"
        )


def _gather(value: int) -> list[int]:
    """The values of all processes."""
    import jax
    import numpy as np
    from jax.experimental import multihost_utils

    if jax.process_count() == 1:
        return [value]
    return multihost_utils.process_allgather(np.asarray(value)).tolist()
