"""What a meta-step sends and keeps on 1, 2, 4 and 8 virtual devices, and its rate.

    python tests/benchmarks/devices.py [--case=digits/mlp] [--num_pairs=8] [--seconds=6]

The bytes are those of all collectives in the compiled program, as one device takes part in them,
and its memory is what XLA says of it. The rate is of the whole machine: it grows until every core
has a device, and should then stay.
"""

import math
import os
import re
import statistics
import sys
import time

from absl import app, flags

_CASE = flags.DEFINE_string("case", "digits/mlp", "Case of `lopt benchmark`.")
_PAIRS = flags.DEFINE_integer("num_pairs", 8, "Antithetic pairs.")
_SECONDS = flags.DEFINE_float("seconds", 6.0, "Time to measure for.")
_BYTES = {"f32": 4, "s32": 4, "u32": 4, "pred": 1, "s64": 8, "u64": 8, "f64": 8}
_COLLECTIVES = "all-reduce|all-gather|all-to-all|reduce-scatter|collective-permute"


def sent_bytes(hlo: str) -> dict[str, int]:
    """Bytes of the results of all collectives, by kind."""
    sent: dict[str, int] = {}
    for result, kind in re.findall(rf"= (.*?) ({_COLLECTIVES})(?:-start)?\(", hlo):
        for dtype, shape in re.findall(r"([a-z]+\d*)\[([\d,]*)\]", result):
            size = math.prod(int(length) for length in shape.split(",") if length)
            sent[kind] = sent.get(kind, 0) + size * _BYTES[dtype]
    return sent


def measure(count: int, seconds: float) -> str:
    import dataclasses

    import jax

    from meta_train import MetaTrainer
    from meta_train.parallel import Devices
    from tests.benchmarks.trainers import make_trainer

    trainer = make_trainer(_CASE.value, _PAIRS.value)
    trainer = dataclasses.replace(trainer, devices=Devices(count))
    program = MetaTrainer._steps.lower(trainer.placed, trainer.abstract_state()).compile()
    sent = sent_bytes(program.as_text())
    memory = trainer.compile().total
    state = trainer.init(jax.random.key(0))
    times = []
    while sum(times) < seconds or len(times) < 3:
        start = time.perf_counter()
        state, records = trainer.step(state)
        jax.block_until_ready(records)
        times.append(time.perf_counter() - start)
    length = trainer.estimator.steps_per_truncation
    rate = trainer.estimator.num_groups * 2 * length / statistics.median(times[1:])
    kinds = ", ".join(f"{kind} {size:,} bytes" for kind, size in sent.items()) or "nothing"
    words = f"{count} devices: {rate:7,.0f} inner steps/s, {memory / 1e6:5.1f} MB on each"
    return f"{words}, sent: {kinds}"


def main(_: list[str]) -> None:
    for count in (1, 2, 4, 8):
        print(measure(count, _SECONDS.value), flush=True)


if __name__ == "__main__":
    os.environ["XLA_FLAGS"] = (
        f"{os.environ.get('XLA_FLAGS', '')} --xla_force_host_platform_device_count=8"
    )
    sys.path.insert(0, os.getcwd())
    app.run(main)
