"""Which devices a run uses: from ``config.devices`` to ``meta_train.parallel.Devices``."""

import os

import jax
import joblib

import configs.base
from launch import errors
from meta_train.parallel import Devices

_CPU_COUNT_FLAG = "xla_force_host_platform_device_count"
_CPU_TIMEOUT_FLAGS = (
    "xla_cpu_collective_call_warn_stuck_timeout_seconds",
    "xla_cpu_collective_call_terminate_timeout_seconds",
)
_CPU_TIMEOUT_SECONDS = 24 * 3600


def prepare() -> None:
    """Let JAX have one CPU device per core; to be called before it starts its backends.

    XLA ends a process in which one CPU device waits 40 seconds for another. Particles of long
    inner problems may well differ by more, above all in the first meta-step, so the limit is
    raised. Settings that the user has made in ``XLA_FLAGS`` stay.
    """
    flags = os.environ.get("XLA_FLAGS", "")
    missing = [flag for flag in _CPU_TIMEOUT_FLAGS if flag not in flags]
    limits = [f"--{flag}={_CPU_TIMEOUT_SECONDS}" for flag in missing]
    os.environ["XLA_FLAGS"] = " ".join([flags, *limits]).strip()
    if _CPU_COUNT_FLAG in flags:
        return
    try:
        jax.config.update("jax_num_cpu_devices", joblib.cpu_count())
    except RuntimeError:
        return  # the backends run already, with the devices that they have


def choose(section: configs.base.Devices, num_groups: int) -> Devices:
    """The devices of a run.

    Args:
        section: ``config.devices``; where ``count`` is None, as many as divide the groups evenly.
        num_groups: groups of particles of the estimator.

    Raises:
        UserError: more devices than there are, or a number that does not divide the groups.
    """
    count, backend = section.count, section.backend
    try:
        if count is None:
            return Devices(jax.device_count(), backend).fitting(num_groups)
        devices = Devices(count, backend)
        suggestion = devices.fitting(num_groups).count
    except ValueError as error:
        raise errors.UserError(
            f"config.devices: {error} The groups are those of config.estimator.num_pairs"
        ) from error
    if num_groups % count:
        raise errors.UserError(
            f"config.devices.count = {count} does not divide the {num_groups} groups of particles "
            f"of the estimator evenly; {suggestion} would, or choose config.estimator.num_pairs as "
            "a multiple of it"
        )
    return devices
