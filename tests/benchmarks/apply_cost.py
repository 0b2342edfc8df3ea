"""What applying each learned optimizer costs, in time and memory.

Prints, for every registered optimizer and for optax.adam, nanoseconds per parameter and inner
step, bytes of state per parameter and seconds to compile, next to the rate of a large float32
matrix product on the same core. An update runs inside a jitted scan, as in meta-training.

On one core:

    taskset -c 0 env JAX_PLATFORMS=cpu XLA_FLAGS=--xla_cpu_multi_thread_eigen=false \
        python -m tests.benchmarks.apply_cost --sizes=digits,mnist

Times are process CPU time, the best and the median of ``--repeats``, with the candidates taking
turns, so that other programs on the machine disturb all of them alike. ``--wall`` measures
elapsed time instead; use it on accelerators.
"""

import argparse
import statistics
import time
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

import lopt

SIZES = {
    "digits": ((64, 32), (32,), (32, 10), (10,)),
    "mnist": ((784, 32), (32,), (32, 10), (10,)),
    "cifar": ((3072, 128), (128,), (128, 128), (128,), (128, 128), (128,), (128, 10), (10,)),
}


def make_run(optimizer: Any, shapes: tuple[tuple[int, ...], ...], inner_steps: int) -> Any:
    """Compile inner steps on a quadratic; return the call, its compile time and state bytes."""
    rng = np.random.default_rng(0)
    params = tuple(jnp.asarray(rng.normal(size=s) * 0.1, jnp.float32) for s in shapes)
    learned = isinstance(optimizer, lopt.LearnedOptimizer)
    theta = optimizer.init(jax.random.key(0)) if learned else ()

    def run(theta: Any, params: Any, state: Any) -> Any:
        tx = optimizer.bind(theta, inner_steps) if learned else optimizer

        def body(carry: Any, _: None) -> tuple[Any, None]:
            params, state = carry
            grads = jax.tree.map(lambda p: 0.5 * p + 0.01, params)
            updates, state = tx.update(grads, state, params)
            return (optax.apply_updates(params, updates), state), None

        return jax.lax.scan(body, (params, state), None, length=inner_steps)[0]

    state = (optimizer.bind(theta, inner_steps) if learned else optimizer).init(params)
    lowered = jax.jit(run).lower(theta, params, state)
    start = time.process_time()
    compiled = lowered.compile()
    seconds = time.process_time() - start
    num_bytes = sum(x.nbytes for x in jax.tree.leaves(state))
    return lambda: jax.block_until_ready(compiled(theta, params, state)), seconds, num_bytes


def measure(
    calls: dict[str, Callable[[], Any]], repeats: int, clock: Callable[[], float]
) -> dict[str, list[float]]:
    """Seconds of every call, taken in turns."""
    times: dict[str, list[float]] = {name: [] for name in calls}
    for call in calls.values():
        call()
    for _ in range(repeats):
        for name, call in calls.items():
            start = clock()
            call()
            times[name].append(clock() - start)
    return times


def main() -> None:
    """Parse the command line, measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--sizes", default="digits,mnist", help=f"of {', '.join(SIZES)}")
    parser.add_argument("--optimizers", default=",".join(lopt.LOPTS))
    parser.add_argument("--inner-steps", type=int, default=20)
    parser.add_argument("--repeats", type=int, default=20)
    parser.add_argument("--wall", action="store_true", help="measure elapsed time")
    args = parser.parse_args()
    clock = time.perf_counter if args.wall else time.process_time

    square = jnp.ones((1024, 1024))
    product = jax.jit(lambda a: a @ a)
    print(f"jax {jax.__version__} on {jax.devices()[0].device_kind}")
    for size in args.sizes.split(","):
        shapes = SIZES[size]
        count = sum(int(np.prod(s)) for s in shapes)
        optimizers = {name: lopt.LOPTS[name]() for name in args.optimizers.split(",")}
        runs = {
            name: make_run(optimizer, shapes, args.inner_steps)
            for name, optimizer in ({**optimizers, "optax.adam": optax.adam(1e-3)}).items()
        }
        calls = {name: run[0] for name, run in runs.items()}
        calls["matmul"] = lambda: product(square).block_until_ready()
        times = measure(calls, args.repeats, clock)
        rate = 2 * 1024**3 / np.array(times.pop("matmul")) / 1e9
        print(f"\n{size}: {count} parameters; a 1024^3 matrix product runs at")
        print(f"{np.max(rate):.0f} GFLOP/s at best, {np.median(rate):.0f} in the median")
        print("optimizer         ns/param best   median  bytes/param  compile s")
        for name, seconds in times.items():
            scale = 1e9 / (count * args.inner_steps)
            best, median = min(seconds) * scale, statistics.median(seconds) * scale
            num_bytes = runs[name][2] / count
            print(f"{name:16}{best:15.1f}{median:9.1f}{num_bytes:13.1f}{runs[name][1]:11.2f}")


if __name__ == "__main__":
    main()
