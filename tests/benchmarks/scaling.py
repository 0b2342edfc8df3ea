"""Weak scaling from one process to two, each on one core with as many particles.

    python tests/benchmarks/scaling.py [--case=mnist/mlp] [--num_pairs=16] [--rounds=15]

Four processes are started, two for each core: a pair that knows nothing of each other, and a pair
that shares one run with twice the pairs of particles. They take turns of a few meta-steps, while
the others wait: each of the first pair alone; both at once, which shows what the machine itself
loses when both cores work; then the run. So all of them see the same drift of the machine's rate,
and a round gives a ratio to the rate of one process. Printed are medians over rounds with
quartiles, and the share of a meta-step that dispatch and collectives take: the time of a program
with the same arguments and results, and the same sums over processes, that does nothing else.
"""

import dataclasses
import os
import socket
import statistics
import subprocess
import sys
import time
from collections.abc import Sequence

from absl import app, flags

from launch import cli
from meta_train.benchmark import CASES
from tests.benchmarks.trainers import make_trainer

_CASE = flags.DEFINE_string("case", "mnist/mlp", "Case of `lopt benchmark`.")
_PAIRS = flags.DEFINE_integer("num_pairs", 16, "Antithetic pairs of each process.")
_ROUNDS = flags.DEFINE_integer("rounds", 15, "How often everything is measured.")
_META_STEPS = flags.DEFINE_integer("meta_steps", 4, "In each turn.")
_PROCESSES = flags.DEFINE_integer("processes", None, "Of one run; makes this process one of them.")
_PROCESS = flags.DEFINE_integer("process", 0, "Which one.")
_CORE = flags.DEFINE_integer("core", 0, "Which core it has.")
_PORT = flags.DEFINE_integer("port", 0, "Where they meet.")


class Worker:
    """A process that takes meta-steps when it is told to."""

    def __init__(self, processes: int, process: int, core: int, port: int = 0) -> None:
        command = [
            sys.executable, __file__, *sys.argv[1:], f"--processes={processes}",
            f"--process={process}", f"--core={core}", f"--port={port}",
        ]  # fmt: skip
        self._process = subprocess.Popen(
            command,
            env={**os.environ, "JAX_PLATFORMS": "cpu"},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )

    def start(self, order: str) -> None:
        """Give an order: so many meta-steps, or "overhead"."""
        assert self._process.stdin
        print(order, file=self._process.stdin, flush=True)

    def seconds(self) -> float:
        """Of one meta-step, or of one without work, once the order is carried out."""
        assert self._process.stdout
        for line in self._process.stdout:
            if line.startswith("seconds "):  # Gloo prints lines of its own
                return float(line.split()[1])
        raise SystemExit(f"a worker ended with status {self._process.wait()}")

    def close(self) -> None:
        """Let it end."""
        self._process.communicate()


def seconds_of(workers: Sequence[Worker], order: str) -> list[float]:
    """What each says after carrying out the order, all at once."""
    for worker in workers:
        worker.start(order)
    return [worker.seconds() for worker in workers]


def main(_: list[str]) -> None:
    if _PROCESSES.value is not None:
        work()
        return
    apart = [Worker(1, 0, core) for core in range(2)]
    seconds_of(apart, "1")  # first alone: four that compile at once would need four times as long
    port = free_port()
    run = [Worker(2, i, i, port) for i in range(2)]
    seconds_of(run, "1")
    order, rows = str(_META_STEPS.value), []
    for _ in range(_ROUNDS.value):
        alone = [seconds_of([worker], order)[0] for worker in apart]
        both, shared = seconds_of(apart, order), seconds_of(run, order)
        rows.append((sum(1 / x for x in alone) / 2, sum(1 / x for x in both), 2 / max(shared)))
    report(rows, statistics.median(seconds_of(run, "overhead")))
    for worker in (*apart, *run):
        worker.close()


def report(rows: Sequence[tuple[float, float, float]], overhead: float) -> None:
    """Print rates, given in meta-steps of one process per second."""
    length = CASES[_CASE.value].config["estimator"]["truncation_length"]
    per_step = 2 * _PAIRS.value * length
    print(f"{_CASE.value}, {_PAIRS.value} pairs per process, one core each")
    rates = [per_step * statistics.median(column) for column in zip(*rows, strict=True)]
    print(f"one process                {rates[0]:7.0f} inner steps/s")
    for column, name in ((1, "two apart"), (2, "two that share a run")):
        ratios = [100 * row[column] / (2 * row[0]) for row in rows]
        low, middle, high = statistics.quantiles(ratios, n=4)
        print(
            f"{name:26} {rates[column]:7.0f} inner steps/s, {middle:.0f} % of twice that of one "
            f"(quartiles {low:.0f} and {high:.0f})"
        )
    share = 100 * overhead * statistics.median(row[2] / 2 for row in rows)
    print(f"dispatch and collectives   {share:7.2f} % of a meta-step")


def work() -> None:
    """Carry out orders until the input ends."""
    os.sched_setaffinity(0, [sorted(os.sched_getaffinity(0))[_CORE.value]])
    cli.one_arena_per_thread()  # as in a run
    import jax

    if _PROCESSES.value > 1:
        jax.distributed.initialize(f"127.0.0.1:{_PORT.value}", _PROCESSES.value, _PROCESS.value)
    from meta_train.parallel import Devices

    trainer = make_trainer(_CASE.value, _PAIRS.value)
    # A short horizon: the clocks of the particles are run in sooner, a meta-step costs the same.
    estimator = dataclasses.replace(
        trainer.estimator,
        horizon=100,
        num_pairs=trainer.estimator.num_pairs * _PROCESSES.value,
    )
    trainer = dataclasses.replace(trainer, estimator=estimator, devices=Devices(_PROCESSES.value))
    state = trainer.init(jax.random.key(0))
    for order in sys.stdin:
        if order.strip() == "overhead":
            seconds, state = seconds_without_work(trainer, state)
        else:
            start = time.perf_counter()
            for _ in range(int(order)):
                state, records = trainer.step(state)
                jax.block_until_ready(records)
            seconds = (time.perf_counter() - start) / int(order)
        print("seconds", seconds, flush=True)


def seconds_without_work(trainer, state):
    """Seconds of dispatch and of the sums over processes, and the state."""
    import jax
    import jax.numpy as jnp
    from jax.flatten_util import ravel_pytree

    from meta_train import trainer as module
    from meta_train.parallel import REPLICATED, map_over_devices, sum_over_devices

    size = ravel_pytree(jax.device_get(state.theta))[0].size
    sums = trainer.devices.place([jnp.zeros(size), *[jnp.zeros(())] * 6])
    specs = (module._STATE_SPECS, REPLICATED)
    program = jax.jit(
        map_over_devices(
            lambda state, sums: (state, sum_over_devices(sums)), trainer.devices, specs, specs
        ),
        donate_argnums=0,
    )
    seconds = []
    for _ in range(101):
        start = time.perf_counter()
        state, sums = program(state, sums)
        jax.block_until_ready(sums)
        seconds.append(time.perf_counter() - start)
    return statistics.median(seconds), state


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


if __name__ == "__main__":
    sys.path.insert(0, os.getcwd())
    app.run(main)
