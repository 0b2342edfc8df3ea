"""What one update of an optimizer costs, apart from the gradient."""

import time
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from meta_train.evaluation.optimizers import Optimizer

_SHAPES = {"kernel": (256, 256), "bias": (256,)}
_STEPS = 10
_REPEATS = 3
_NUM_STEPS = 1000
"""What an optimizer is told that T is."""


class Cost(NamedTuple):
    """What an update of a dense layer of 256 inputs and 256 units costs, per parameter."""

    ns_per_parameter: float
    """Time of one update on the default device, the best of three measurements."""
    bytes_per_parameter: float
    """Size of the optimizer's state."""


def measure_costs(optimizers: Iterable[Optimizer]) -> list[dict[str, Any]]:
    """The cost of each optimizer, as rows of summary.json."""
    found = []
    for one in optimizers:
        cost = measure_cost(lambda theta, one=one: one.make(theta, {}, _NUM_STEPS), one.theta)
        numbers = {name: float(f"{x:.6g}") for name, x in cost._asdict().items()}
        found.append({"optimizer": one.name, **numbers})
    return found


def measure_cost(
    make_optimizer: Callable[[Any], optax.GradientTransformation], parameters: Any
) -> Cost:
    """Time updates inside a jitted scan, as in a training program.

    Args:
        make_optimizer: from its parameters (theta) to the optimizer.
        parameters: pytree of arrays.
    """
    rng = np.random.default_rng(0)
    params = {
        name: jnp.asarray(rng.normal(size=shape), jnp.float32) for name, shape in _SHAPES.items()
    }
    count = sum(leaf.size for leaf in params.values())

    def run(parameters: Any, params: Any) -> Any:
        optimizer = optax.with_extra_args_support(make_optimizer(parameters))

        def step(carry: tuple, _: None) -> tuple[tuple, None]:
            params, state = carry
            grads = jax.tree.map(lambda x: 0.5 * x + 0.01, params)
            updates, state = optimizer.update(grads, state, params, value=jnp.ones(()))
            return (optax.apply_updates(params, updates), state), None

        return jax.lax.scan(step, (params, optimizer.init(params)), None, length=_STEPS)[0][0]

    state = jax.eval_shape(lambda p, x: make_optimizer(p).init(x), parameters, params)
    num_bytes = sum(x.size * x.dtype.itemsize for x in jax.tree.leaves(state))
    compiled = jax.jit(run).lower(parameters, params).compile()
    jax.block_until_ready(compiled(parameters, params))
    seconds = []
    for _ in range(_REPEATS):
        start = time.perf_counter()
        jax.block_until_ready(compiled(parameters, params))
        seconds.append(time.perf_counter() - start)
    return Cost(1e9 * min(seconds) / (_STEPS * count), num_bytes / count)
