"""What applying an optimizer costs in time and memory, beside optax.adam.

Four square matrices with their biases. A step is the update and its addition to the parameters,
jitted, with parameters and state donated. Steps of optimizer and Adam take turns, so that other
programs on the machine disturb both alike.
"""

import math
import statistics
from collections.abc import Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

import lopt
from meta_train.benchmark import machine
from meta_train.benchmark.protocol import Actions, clock

_ADAM = "optax.adam"
_ADAM_STEPS = 5
"""In each turn: the first finds a cache full of what the other left there."""
_NUM_MATRICES = 4


def start(order: dict[str, Any]) -> tuple[dict[str, Any], Actions]:
    """Compile one optimizer and Adam, for ``protocol.serve``.

    "run" answers the seconds that one step took of it and of Adam.
    """
    params = _make_params(float(order["size"]))
    name, kernel = order["optimizer"], order["update_kernel"]
    ours, adam = _Step(name, params, kernel), _Step(_ADAM, params)
    count = sum(x.size for x in params.values())
    steps = ours.start(), adam.start()
    for step in steps:
        next(step)  # the first touches fresh memory

    def run(seconds: float) -> dict[str, float]:
        times: tuple[list[float], list[float]] = [], []
        while not times[0] or sum(times[0]) < seconds:
            times[0].append(next(steps[0]))
            times[1].extend(next(steps[1]) for _ in range(_ADAM_STEPS))
        mine, adams = map(statistics.median, times)
        return {"seconds": mine, "adam_seconds": adams}

    details = {
        "parameters": count,
        "compile_seconds": ours.compile_seconds,
        "state_bytes": ours.state_bytes,
        "temporary_bytes": ours.temporary_bytes,
        "copy_seconds": (ours.state_bytes + 4 * count) * 2 / machine.copy_rate(4 * count),
        "difference": None if kernel == "jnp" else ours.difference(_Step(name, params)),
        "machine": machine.describe(),
    }
    return details, {"run": run}


def _make_params(count: float) -> dict[str, jax.ShapeDtypeStruct]:
    """Shapes of about ``count`` parameters."""
    width = math.isqrt(round(count / _NUM_MATRICES))
    shapes = {f"w{i}": (width, width) for i in range(_NUM_MATRICES)}
    shapes |= {f"b{i}": (width,) for i in range(_NUM_MATRICES)}
    return {name: jax.ShapeDtypeStruct(shape, jnp.float32) for name, shape in shapes.items()}


def _make_optimizer(name: str, kernel: str) -> optax.GradientTransformationExtraArgs:
    if name == _ADAM:
        return optax.adam(1e-3)
    rule = lopt.LOPTS[name]()
    tx = rule.bind(rule.init(jax.random.key(0)), 1000)
    return lopt.with_options(tx, update_kernel=kernel)


class _Step:
    """One optimizer, compiled for one set of parameters; holds no arrays until it is started."""

    def __init__(
        self, name: str, params: dict[str, jax.ShapeDtypeStruct], kernel: str = "jnp"
    ) -> None:
        self._tx, self._params = _make_optimizer(name, kernel), params
        state = jax.eval_shape(self._tx.init, params)
        begin = clock()
        self._compiled = jax.jit(self._step, donate_argnums=(0, 1)).lower(params, state).compile()
        self.compile_seconds = clock() - begin
        self.state_bytes = sum(x.size * x.dtype.itemsize for x in jax.tree.leaves(state))
        sizes: Any = self._compiled.memory_analysis()
        fresh = sizes.output_size_in_bytes - sizes.alias_size_in_bytes
        self.temporary_bytes = sizes.temp_size_in_bytes + fresh

    def _step(self, params: Any, state: Any) -> tuple[Any, Any]:
        grads = jax.tree.map(lambda p: 0.5 * p + 0.01, params)
        updates, state = self._tx.update(grads, state, params)
        return optax.apply_updates(params, updates), state

    def difference(self, other: "_Step") -> float:
        """Between the parameters after two steps of each, relative to the second step."""
        mine, theirs = self._compiled(*self._arrays()), other._compiled(*other._arrays())
        before = jax.tree.map(jnp.copy, theirs[0])
        (mine, _), (theirs, _) = self._compiled(*mine), other._compiled(*theirs)
        apart, moved = (
            max(float(jnp.max(jnp.abs(a[name] - b[name]))) for name in b)
            for a, b in ((mine, theirs), (before, theirs))
        )
        return apart / moved

    def _arrays(self) -> tuple[Any, Any]:
        rng = np.random.default_rng(0)
        params = {
            name: jnp.asarray(rng.standard_normal(x.shape, np.float32) * 0.1)
            for name, x in self._params.items()
        }
        return params, self._tx.init(params)

    def start(self) -> Iterator[float]:
        """Seconds of one step after the other."""
        arrays = self._arrays()
        while True:
            begin = clock()
            arrays = jax.block_until_ready(self._compiled(*arrays))
            yield clock() - begin
