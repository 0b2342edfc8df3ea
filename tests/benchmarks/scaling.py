"""Weak scaling from one process to two, each on one core with as many particles.

    python tests/benchmarks/scaling.py [--task=mnist_mlp] [--num_pairs=16] [--rounds=5]

Every round measures, one after the other: one process alone; two processes that know nothing of
each other, which shows what the machine itself loses when both cores work; and two processes that
share one run with twice the pairs. A rate is that of the median meta-step of a process. Printed are
medians over rounds: of the rates, and of their ratios to the rate of one process in the same round,
since the machine's own rate drifts. Also the share of a meta-step that dispatch and collectives
take: the time of a program with the same arguments and results, and the same sums over processes,
that does nothing else. The processes have the allocator of a run (launch/malloc.py).
"""

import dataclasses
import json
import os
import socket
import statistics
import subprocess
import sys
import time

from absl import app, flags

from launch import malloc
from tests.benchmarks.meta_step import TASKS, make_trainer

_ROUNDS = flags.DEFINE_integer("rounds", 5, "How often everything is measured.")
_META_STEPS = flags.DEFINE_integer("meta_steps", 20, "Timed in each process.")
_PROCESSES = flags.DEFINE_integer("processes", None, "Of one run; makes this process one of them.")
_PROCESS = flags.DEFINE_integer("process", 0, "Which one.")
_CORE = flags.DEFINE_integer("core", 0, "Which core it has.")
_PORT = flags.DEFINE_integer("port", 0, "Where they meet.")


def work() -> dict[str, float]:
    """Seconds of a meta-step, and of one without any work, in this process."""
    os.sched_setaffinity(0, [sorted(os.sched_getaffinity(0))[_CORE.value]])
    malloc.one_heap_per_thread()
    import jax

    if _PROCESSES.value > 1:
        jax.distributed.initialize(f"127.0.0.1:{_PORT.value}", _PROCESSES.value, _PROCESS.value)
    from meta_train.parallel import Devices

    trainer, _ = make_trainer()
    # A short horizon: the clocks of the particles are run in sooner, a meta-step costs the same.
    estimator = dataclasses.replace(
        trainer.estimator,
        horizon=100,
        num_pairs=trainer.estimator.num_pairs * _PROCESSES.value,
    )
    trainer = dataclasses.replace(trainer, estimator=estimator, devices=Devices(_PROCESSES.value))
    state = trainer.init(jax.random.key(0))
    state, records = trainer.step(state)
    jax.block_until_ready(records)
    seconds = []
    for _ in range(_META_STEPS.value):
        start = time.perf_counter()
        state, records = trainer.step(state)
        jax.block_until_ready(records)
        seconds.append(time.perf_counter() - start)
    return {"meta_step": statistics.median(seconds), "overhead": overhead(trainer, state)}


def overhead(trainer, state) -> float:
    """Seconds of dispatch and of the sums over processes."""
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
    return statistics.median(seconds)


def start(processes: int, process: int, core: int, port: int) -> subprocess.Popen[str]:
    command = [
        sys.executable, __file__, *sys.argv[1:], f"--processes={processes}",
        f"--process={process}", f"--core={core}", f"--port={port}",
    ]  # fmt: skip
    environment = {**os.environ, "JAX_PLATFORMS": "cpu"}
    return subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True)


def results_of(workers: list[subprocess.Popen[str]]) -> list[dict[str, float]]:
    outputs = [worker.communicate()[0] for worker in workers]
    assert not any(worker.returncode for worker in workers)
    return [json.loads(output.splitlines()[-1]) for output in outputs]


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def main(_: list[str]) -> None:
    if _PROCESSES.value is not None:
        print(json.dumps(work()))
        return
    per_step = 2 * flags.FLAGS.num_pairs * TASKS[flags.FLAGS.task][3]
    alone, apart, together, shares = [], [], [], []
    for round_ in range(_ROUNDS.value):
        (result,) = results_of([start(1, 0, round_ % 2, 0)])
        alone.append(per_step / result["meta_step"])
        results = results_of([start(1, 0, core, 0) for core in range(2)])
        apart.append(sum(per_step / result["meta_step"] for result in results))
        port = free_port()
        results = results_of([start(2, i, i, port) for i in range(2)])
        together.append(2 * per_step / max(result["meta_step"] for result in results))
        shares += [result["overhead"] / result["meta_step"] for result in results]
    print(f"task {flags.FLAGS.task}, {flags.FLAGS.num_pairs} pairs per process, one core each")
    print(f"one process             {statistics.median(alone):8.0f} inner steps/s")
    for name, rates in (("two apart", apart), ("two that share a run", together)):
        ratios = [two / (2 * one) for two, one in zip(rates, alone, strict=True)]
        shown = " ".join(f"{100 * ratio:.0f}" for ratio in ratios)
        print(
            f"{name:23} {statistics.median(rates):8.0f} inner steps/s, "
            f"{100 * statistics.median(ratios):.0f} % of twice one (by round: {shown})"
        )
    print(f"dispatch and collectives {100 * statistics.median(shares):7.2f} % of a meta-step")


if __name__ == "__main__":
    sys.path.insert(0, os.getcwd())
    flags.FLAGS.set_default("num_pairs", 16)
    app.run(main)
