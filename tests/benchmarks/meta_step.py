"""Rate of whole PES meta-steps, in inner steps per second, beside the machine's matrix rate.

    python tests/benchmarks/meta_step.py [--task=mnist_mlp] [--optimizer=mlp] [--cores=1]

Inner steps per second = particles x K / time of one meta-step, the median over a number of timed
meta-steps. Images are random bytes of the data set's shape: what they show does not change the
time. The matrix rate is that of float32 products of 1024 x 1024 on the same cores, in GFLOP/s,
measured just before and after.
"""

import os
import statistics
import sys
import time

from absl import app, flags

TASKS = {
    # name: (image shape, hidden widths, batch size, K)
    "digits_mlp": ((8, 8, 1), (32,), 64, 20),
    "mnist_mlp": ((28, 28, 1), (32,), 128, 20),
    "cifar10_mlp": ((32, 32, 3), (128, 128, 128), 128, 4),
}

_TASK = flags.DEFINE_enum("task", "mnist_mlp", sorted(TASKS), "Inner task.")
_OPTIMIZER = flags.DEFINE_string("optimizer", "mlp", "Learned optimizer.")
_PAIRS = flags.DEFINE_integer("num_pairs", 8, "Antithetic pairs.")
_SECONDS = flags.DEFINE_float("seconds", 20.0, "Time to measure for.")
_CORES = flags.DEFINE_integer("cores", 1, "Cores to use.")


def limit_cores(cores: int) -> None:
    """Before JAX starts: its thread pools follow the affinity of the process."""
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:cores])


def matrix_gflops() -> float:
    import jax
    import jax.numpy as jnp

    size, product = 1024, jax.jit(lambda a, b: a @ b)
    a = jnp.ones((size, size))
    rates = []
    for _ in range(12):
        start = time.perf_counter()
        product(a, a).block_until_ready()
        rates.append(2 * size**3 / (time.perf_counter() - start) / 1e9)
    return statistics.median(rates[2:])


def random_dataset(shape: tuple[int, int, int], count: int = 10_000):
    import numpy as np

    from tasks import Dataset

    rng = np.random.default_rng(0)
    size = int(np.prod(shape))
    return Dataset(
        images=rng.integers(0, 256, (count, size), dtype=np.uint8),
        labels=rng.integers(0, 10, count, dtype=np.uint8),
        scale=np.full(size, 1 / 74, np.float32),
        offset=np.full(size, -127 / 74, np.float32),
        shape=shape,
        num_classes=10,
        num_train=count - 2000,
        num_valid=1000,
        fixed_test=True,
    )


def make_trainer():
    import jax
    import jax.numpy as jnp
    import optax

    import lopt
    import meta_train
    from tasks.image_classifier import ImageClassifier
    from tasks.networks import MLP

    shape, hidden, batch_size, length = TASKS[_TASK.value]
    data = jax.tree.map(jnp.asarray, random_dataset(shape))
    task = ImageClassifier(data, MLP(hidden, 10), batch_size, 1.0)
    system = meta_train.LoptSystem(lopt.LOPTS[_OPTIMIZER.value](), task)
    estimator = meta_train.PES(1000, length, num_pairs=_PAIRS.value, std=0.01)
    return meta_train.MetaTrainer([system], estimator, optax.adam(1e-4)), length


def main(arguments: list[str]) -> None:
    del arguments
    limit_cores(_CORES.value)
    import jax

    before = matrix_gflops()
    trainer, length = make_trainer()
    start = time.perf_counter()
    state = trainer.init(jax.random.key(0))
    jax.block_until_ready(state)
    init_seconds = time.perf_counter() - start
    start = time.perf_counter()
    state, records = trainer.step(state)
    jax.block_until_ready(records)
    first_seconds = time.perf_counter() - start
    seconds = []
    while sum(seconds) < _SECONDS.value or len(seconds) < 3:
        start = time.perf_counter()
        state, records = trainer.step(state)
        jax.block_until_ready(records)
        seconds.append(time.perf_counter() - start)
    gflops = (before + matrix_gflops()) / 2
    rate = 2 * _PAIRS.value * length / statistics.median(seconds)
    print(f"task {_TASK.value}, optimizer {_OPTIMIZER.value}, {_PAIRS.value} pairs, K = {length}")
    print(f"matrix rate               {gflops:10.0f} GFLOP/s on {_CORES.value} core(s)")
    print(f"init                      {init_seconds:10.1f} s, compilation included")
    print(f"first meta-step           {first_seconds:10.1f} s, clocks run in, compilation included")
    print(f"meta-step                 {statistics.median(seconds) * 1e3:10.1f} ms")
    print(f"inner steps per second    {rate:10.0f}")


if __name__ == "__main__":
    sys.path.insert(0, os.getcwd())
    app.run(main)
