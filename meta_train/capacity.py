"""Whether a run fits the memory of its devices, and how many groups of particles would."""

import dataclasses
import math
import os
from pathlib import Path
from typing import NamedTuple

import jax

_MEMINFO = Path("/proc/meminfo")
_CGROUP = Path("/sys/fs/cgroup")
_FILLED = 0.98
"""Part of the free memory up to which groups are said to fit: small arrays are not counted."""


class TooLarge(ValueError):
    """A run that needs more memory than is free."""


class Memory(NamedTuple):
    """What a meta-step takes on each device, in bytes."""

    data: int
    """Of the systems, which are on every device."""
    particles: int
    """State of its groups of particles."""
    rest: int
    """Theta and the state of the meta-optimizer, and windows of data beside the first."""
    temporaries: int
    """Of the compiled program; 0 where the platform does not tell."""

    @property
    def total(self) -> int:
        return sum(self)


def free_bytes() -> int | None:
    """Memory that is free on each device of this process; None where the platform does not tell.

    The devices of a CPU share the memory of the machine, or what its control group leaves.
    """
    devices = jax.local_devices()
    if devices[0].platform == "cpu":
        known = [size for size in (_free_of_machine(), _free_of_group()) if size is not None]
        return min(known) if known else None
    stats = [device.memory_stats() or {} for device in devices]
    if not all("bytes_limit" in x for x in stats):
        return None
    return min(x["bytes_limit"] - x["bytes_in_use"] for x in stats)


@dataclasses.dataclass(frozen=True)
class Capacity:
    """The memory that was free before a run allocated anything but its data.

    Args:
        num_groups: groups of particles of the run, on all devices.
        devices: their number.
        free: bytes on each device, see ``free_bytes``; None fits everything.
        sequential: whether particles are worked on one after the other.
    """

    num_groups: int
    devices: int
    free: int | None
    sequential: bool

    @property
    def sharing(self) -> int:
        """How many of the devices draw on the same memory."""
        here = min(self.devices, jax.local_device_count())
        return here if jax.local_devices()[0].platform == "cpu" else 1

    def fits(self, memory: Memory) -> bool:
        """Whether a run that takes so much on each device does."""
        return self.free is None or self._needed(memory) * self.sharing <= self.free

    def largest(self, memory: Memory) -> int | None:
        """How many groups of particles would fit, a multiple of the number of devices.

        None where it is not known what is free. It takes temporaries to grow with the groups,
        but where particles are worked on one after the other, only a copy of their state does.
        """
        if self.free is None:
            return None
        copied = min(memory.particles, memory.temporaries)
        growing = memory.particles + (copied if self.sequential else memory.temporaries)
        left = self.free // self.sharing - (self._needed(memory) - growing)
        per_group = growing * self.devices / self.num_groups / _FILLED
        return max(0, math.floor(left / per_group)) * self.devices

    def error(self, memory: Memory) -> TooLarge:
        """What to say of a run that does not fit."""
        where = f" on each of {self.devices} devices" if self.devices > 1 else ""
        free = _gigabytes((self.free or 0) // self.sharing)
        fitting = self.largest(memory)
        return TooLarge(
            f"{self.num_groups:,} antithetic pairs, or groups of particles, need "
            f"{_gigabytes(self._needed(memory))} of memory{where}, and {free} is free; "
            + (f"choose at most {fitting:,}" if fitting else "not even one fits")
        )

    def _needed(self, memory: Memory) -> int:
        """Without the data, but for their copies: on the first device they are already."""
        return memory.total - memory.data + memory.data * (self.sharing - 1) // self.sharing


def _gigabytes(size: int) -> str:
    return f"{size / 1e9:.2f} GB"


def _free_of_machine() -> int | None:
    try:
        lines = _MEMINFO.read_text(encoding="utf-8").splitlines()
        return next(int(x.split()[1]) * 1024 for x in lines if x.startswith("MemAvailable:"))
    except (OSError, StopIteration):
        if "SC_PHYS_PAGES" not in getattr(os, "sysconf_names", ()):
            return None
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")


def _free_of_group() -> int | None:
    """What the control group of the process, version 2, leaves it; None without a limit."""
    try:
        limit, used = (
            int((_CGROUP / name).read_text(encoding="utf-8"))
            for name in ("memory.max", "memory.current")
        )
        stat = dict(line.split() for line in (_CGROUP / "memory.stat").read_text().splitlines())
    except (OSError, ValueError):
        return None
    return limit - used + int(stat.get("inactive_file", 0))  # files read are let go of on demand
