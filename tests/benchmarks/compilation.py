"""Time to compile the meta-step of one system and of several, on one core and on all.

    python tests/benchmarks/compilation.py [--systems=4] [--rounds=3]

The systems differ in the width of their network, so XLA cannot share anything between them. Every
compilation has a process of its own and no compilation cache; printed are medians.
"""

import os
import statistics
import subprocess
import sys
import time

from absl import app, flags

from tests.benchmarks.meta_step import limit_cores, random_dataset

_SYSTEMS = flags.DEFINE_integer("systems", 4, "How many.")
_ROUNDS = flags.DEFINE_integer("rounds", 3, "How often everything is measured.")
_COMPILE = flags.DEFINE_bool("compile", False, "Compile on --cores cores, and end.")


def work() -> float:
    """Seconds that this process takes to compile."""
    limit_cores(flags.FLAGS.cores)
    import jax
    import jax.numpy as jnp
    import optax

    import lopt
    import meta_train
    from tasks.image_classifier import ImageClassifier
    from tasks.networks import MLP

    jax.config.update("jax_enable_compilation_cache", False)
    data = jax.tree.map(jnp.asarray, random_dataset((8, 8, 1)))
    systems = [
        meta_train.LoptSystem(
            lopt.LOPTS["mlp"](), ImageClassifier(data, MLP((width,), 10), 64, 1.0)
        )
        for width in range(20, 20 + _SYSTEMS.value)
    ]
    estimator = meta_train.PES(1000, 20, num_pairs=4, std=0.01)
    trainer = meta_train.MetaTrainer(systems, estimator, optax.adam(1e-4))
    start = time.perf_counter()
    trainer.compile()
    return time.perf_counter() - start


def measure(systems: int, cores: int) -> float:
    command = [sys.executable, __file__, "--compile", f"--systems={systems}", f"--cores={cores}"]
    output = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    return float(output.split()[-1])


def main(_: list[str]) -> None:
    if _COMPILE.value:
        print(work())
        return
    cores = len(os.sched_getaffinity(0))
    cases = [(n, c) for n in (1, _SYSTEMS.value) for c in (1, cores)]
    rounds = [[measure(*case) for case in cases] for _ in range(_ROUNDS.value)]
    medians = [statistics.median(column) for column in zip(*rounds, strict=True)]
    for i in (0, 2):
        one, all_cores = medians[i], medians[i + 1]
        print(
            f"{cases[i][0]} system(s): {one:.1f} s on one core, {all_cores:.1f} s on {cores}, "
            f"{one / all_cores:.2f} times as fast"
        )


if __name__ == "__main__":
    sys.path.insert(0, os.getcwd())
    app.run(main)
