"""What a process that is measured does: meta-steps of one config, or steps of one optimizer."""

import dataclasses
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import jax
import numpy as np

from meta_train import process
from meta_train.benchmark import apply, machine, operations
from meta_train.benchmark.protocol import Actions, age, clock, peak, repeat
from meta_train.parallel import ONE_DEVICE
from meta_train.particles import Execution
from meta_train.trainer import MetaTrainer

Builder = Callable[[dict[str, Any]], MetaTrainer]
"""Makes the trainer of a complete config."""
_ONE_BLOCK = 2**30


def worker(build: Builder) -> Callable[[dict[str, Any]], tuple[dict[str, Any], Actions]]:
    """What ``protocol.serve`` takes.

    Args:
        build: makes the trainers.
    """

    def start(order: dict[str, Any]) -> tuple[dict[str, Any], Actions]:
        process.one_device_per_core()
        process.keep_compiled()
        if order["kind"] == "apply":
            return apply.start(order)
        return _MetaSteps(order, build(order["config"])).start()

    return start


class _MetaSteps:
    """Meta-training of one config."""

    def __init__(self, order: dict[str, Any], trainer: MetaTrainer) -> None:
        self._started, self._trainer = order["started"], trainer

    def start(self) -> tuple[dict[str, Any], Actions]:
        """Compile, as ``lopt meta-train`` does; "first" is then asked once, "run" any time."""
        trainer, begin = self._trainer, clock()
        capacity = trainer.capacity()
        with ThreadPoolExecutor(max_workers=1) as pool:
            compiling = pool.submit(trainer.compile)
            self._state = trainer.init(jax.random.key(0))
        memory = compiling.result()
        self._count, self._records = trainer.steps_per_dispatch, []
        details = {
            "compile_seconds": clock() - begin,
            "ready_seconds": age(self._started),
            "groups": trainer.estimator.num_groups,
            "group_bytes": memory.particles * trainer.devices.count / trainer.estimator.num_groups,
            "meta_step_bytes": memory.total,
            "largest_num_groups": capacity.largest(memory),
            "machine": machine.describe(),
            **peak(),
        }
        return details, {"first": self.first, "run": self.run, "limit": self.limit}

    def first(self, _: None) -> dict[str, Any]:
        """Take the first dispatch, in which the clocks of the particles are run in."""
        begin = clock()
        self._take(1)
        return {"seconds": clock() - begin}

    def run(self, seconds: float) -> dict[str, Any]:
        """Take dispatches for so many seconds; answers those of one, and its inner steps."""
        self._records = []
        answer = repeat(self._take, seconds)
        inner_steps = np.mean([np.sum(x["inner_steps"]) for x in self._records])
        return {**answer, "inner_steps": float(inner_steps)}

    def limit(self, _: None) -> dict[str, Any]:
        """The rates of the machine, and what one dispatch must compute and move at least.

        Operations are those of the program in its plain form: one particle after the other, so that
        of branches one counts, and every tensor as one block. Of bytes: the state of every
        particle, read and written once in every inner step.
        """
        trainer, plain = self._trainer, Execution("sequential", _ONE_BLOCK)
        alone = dataclasses.replace(trainer, devices=ONE_DEVICE, execution=plain)
        counts = operations.count(alone.step, alone.abstract_state())
        estimator, memory = trainer.estimator, trainer.memory()
        state = memory.particles * trainer.devices.count
        steps = estimator.steps_per_truncation * trainer.steps_per_dispatch
        share = sum(trainer.probabilities) / len(trainer.systems)
        one = state // (2 * estimator.num_groups * len(trainer.systems))
        rates = machine.rates(one)
        return {"operations": counts, "bytes": 2 * state * steps * share, "rates": rates}

    def _take(self, count: int) -> None:
        """Take dispatches as a run does, which fetches the numbers of each one dispatch late."""
        for _ in range(count):
            self._state, records = self._trainer.step(self._state)
            self._records.append(records)
            for late in self._records[-2:-1]:
                np.asarray(late["meta_loss"])
        jax.block_until_ready((self._state, self._records[-1:]))
