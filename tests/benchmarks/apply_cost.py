"""What applying each learned optimizer costs, in time and memory, beside optax.adam.

    taskset -c 0 env JAX_PLATFORMS=cpu XLA_FLAGS=--xla_cpu_multi_thread_eigen=false \
        python tests/benchmarks/apply_cost.py --sizes=1e5,1e6,1e7

For every registered optimizer and every number of parameters, four square matrices with their
biases: nanoseconds per parameter and step, the ratio to optax.adam, bytes of state per parameter,
and the memory that the compiled step asks for. A step is the update and its addition to the
parameters, jitted, with parameters and state donated. Steps of optimizer and Adam take turns, so
that other programs on the machine disturb both alike; the ratio is that of their medians.

Times are process CPU time; ``--wall`` measures elapsed time instead, for accelerators. An
optimizer whose step would need more than ``--max-gib`` is not run, and said to.
"""

import argparse
import math
import statistics
import time
from collections.abc import Callable, Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

import lopt

ADAM = "optax.adam"
ADAM_STEPS = 5
"""In each turn."""
NUM_MATRICES = 4
GIB = 2**30


def make_params(count: float) -> dict[str, jax.ShapeDtypeStruct]:
    """Shapes of about ``count`` parameters."""
    width = math.isqrt(round(count / NUM_MATRICES))
    shapes = {f"w{i}": (width, width) for i in range(NUM_MATRICES)}
    shapes |= {f"b{i}": (width,) for i in range(NUM_MATRICES)}
    return {name: jax.ShapeDtypeStruct(shape, jnp.float32) for name, shape in shapes.items()}


def make_optimizer(name: str) -> optax.GradientTransformationExtraArgs:
    if name == ADAM:
        return optax.adam(1e-3)
    rule = lopt.LOPTS[name]()
    return rule.bind(rule.init(jax.random.key(0)), 1000)


class Step:
    """One optimizer, compiled for one set of parameters; holds no arrays until it is started."""

    def __init__(self, name: str, params: dict[str, jax.ShapeDtypeStruct]) -> None:
        self.tx, self.params = make_optimizer(name), params
        state = jax.eval_shape(self.tx.init, params)
        start = time.process_time()
        self.compiled = jax.jit(self._step, donate_argnums=(0, 1)).lower(params, state).compile()
        self.compile_seconds = time.process_time() - start
        self.state_bytes = sum(x.size * x.dtype.itemsize for x in jax.tree.leaves(state))
        sizes = self.compiled.memory_analysis()
        donated = sizes.output_size_in_bytes - sizes.alias_size_in_bytes
        self.bytes = sizes.argument_size_in_bytes + sizes.temp_size_in_bytes + donated

    def _step(self, params: Any, state: Any) -> tuple[Any, Any]:
        grads = jax.tree.map(lambda p: 0.5 * p + 0.01, params)
        updates, state = self.tx.update(grads, state, params)
        return optax.apply_updates(params, updates), state

    def start(self, clock: Callable[[], float]) -> Iterator[float]:
        """Seconds of one step after the other."""
        rng = np.random.default_rng(0)
        params = {
            name: jnp.asarray(rng.standard_normal(x.shape, np.float32) * 0.1)
            for name, x in self.params.items()
        }
        arrays = params, self.tx.init(params)
        while True:
            start = clock()
            arrays = jax.block_until_ready(self.compiled(*arrays))
            yield clock() - start


def measure(
    step: Step, adam: Step, seconds: float, clock: Callable[[], float]
) -> tuple[float, float]:
    """Median seconds of one step of both, which take turns."""
    steps = step.start(clock), adam.start(clock)
    times: tuple[list[float], list[float]] = [], []
    for run in steps:
        next(run)  # the first touches fresh memory
    while len(times[0]) < 3 or (sum(times[0]) < seconds and len(times[0]) < 200):
        times[0].append(next(steps[0]))
        # Several, because the first finds a cache full of what the other left there.
        times[1].extend(next(steps[1]) for _ in range(ADAM_STEPS))
    return statistics.median(times[0]), statistics.median(times[1])


def report(
    name: str, params: Any, adam: Step, args: argparse.Namespace, clock: Callable[[], float]
) -> None:
    """One line of the table."""
    count = sum(x.size for x in params.values())
    step = Step(name, params)
    print(f"{name:15}", end="", flush=True)
    costs = f"{step.state_bytes / count:13.1f}{step.bytes / GIB:9.2f}{step.compile_seconds:11.1f}"
    if step.bytes > args.max_gib * GIB:
        print(f"{'not run':>9}{'-':>11}{costs}   above --max-gib={args.max_gib:g}")
        return
    seconds, of_adam = measure(step, adam, args.seconds, clock)
    print(f"{seconds / count * 1e9:9.2f}{seconds / of_adam:11.1f}{costs}", flush=True)


def main() -> None:
    """Parse the command line, measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--sizes", default="1e5,1e6,1e7", help="numbers of parameters")
    parser.add_argument("--optimizers", default=",".join(lopt.LOPTS))
    parser.add_argument("--seconds", type=float, default=2.0, help="to measure each for")
    parser.add_argument("--max-gib", type=float, default=8.0, help="limit of memory")
    parser.add_argument("--wall", action="store_true", help="measure elapsed time")
    args = parser.parse_args()
    clock = time.perf_counter if args.wall else time.process_time

    print(f"jax {jax.__version__} on {jax.devices()[0].device_kind}")
    for size in args.sizes.split(","):
        params = make_params(float(size))
        adam = Step(ADAM, params)
        print(f"\n{sum(x.size for x in params.values())} parameters")
        print("optimizer       ns/param  x Adam     bytes/param      GiB  compile s")
        for name in (ADAM, *args.optimizers.split(",")):
            report(name, params, adam, args, clock)


if __name__ == "__main__":
    main()
