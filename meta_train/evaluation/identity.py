"""What a stored result belongs to: keys that change with everything that enters a number.

A key is a JSON-like mapping; results are found by its SHA-256 and compared with it as a whole.
"""

import functools
import hashlib
import json
import os
import platform
import re
import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import jax
import numpy as np

from meta_train.versions import versions
from tasks import Task

FORMAT = 1
"""Raise it when a change of the evaluation makes stored results wrong."""

_ADDRESS = re.compile(r"0x[0-9a-f]+")


def digest(key: Mapping[str, Any]) -> str:
    """SHA-256 of a key."""
    return hashlib.sha256(canonical(key).encode()).hexdigest()


def canonical(key: Mapping[str, Any]) -> str:
    """A key as text; equal keys have equal texts."""
    return json.dumps(key, sort_keys=True, separators=(",", ":"), default=str)


def fingerprint(task: Task) -> str:
    """SHA-256 of what a task computes and of its data.

    The program of drawing a member, its parameters, batches of training and validation, and the
    loss, as JAX traces it; and the bytes of the task's arrays.
    """

    def everything(task: Task, key: jax.Array) -> Any:
        cfg = task.sample(key)
        params = task.init(key, cfg)
        losses = [task.loss(key, cfg, params, task.batch(key, cfg, s)) for s in ("train", "valid")]
        return params, losses

    return program_digest(everything, task)


def program_digest(function: Callable[[Any, jax.Array], Any], subject: Any) -> str:
    """SHA-256 of a computation and of its data.

    Args:
        function: of the subject and a key; its program, as JAX traces it, is taken.
        subject: a pytree, whose arrays are taken.
    """
    program = jax.make_jaxpr(function)(subject, jax.random.key(0))
    found = hashlib.sha256(_ADDRESS.sub("", str(program)).encode())
    for leaf in map(np.asarray, jax.tree.leaves(subject)):
        found.update(str((leaf.shape, leaf.dtype)).encode())
        found.update(leaf.tobytes())
    return found.hexdigest()


class Fingerprint:
    """The ``fingerprint`` of a task as a part of keys: taken when a key first becomes text.

    Where results are neither kept nor looked for no key does, and nothing is computed.
    """

    def __init__(self, task: Task) -> None:
        self._task, self._lock = task, threading.Lock()
        self._text = ""

    def __str__(self) -> str:
        with self._lock:  # several optimizers may ask at once
            self._text = self._text or fingerprint(self._task)
        return self._text


def tuning_versions() -> dict[str, str]:
    """Versions, without the last number, on which the outcome of a search depends."""
    found = versions(("jax", "optax"))
    return {name: ".".join(str(version).split(".")[:2]) for name, version in found.items()}


def run_versions() -> dict[str, str | None]:
    """Versions on which curves and times depend."""
    return versions(("lopt", "jax", "jaxlib", "optax", "flax", "numpy"))


@functools.cache
def machine() -> dict[str, Any]:
    """What the time of a step depends on."""
    return {
        "system": f"{platform.system()} {platform.machine()}",
        "cpu": _cpu_model(),
        "cores": os.cpu_count(),
        "platform": jax.default_backend(),
        "device": jax.devices()[0].device_kind,
    }


def _cpu_model() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor()
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor()
