"""Meta-steps on a data set that streams, beside the same ones with all of it on the device.

    python tests/benchmarks/streaming.py [--limit_mb=320] [--rounds=15]

A data set of random images, 614 MB, is written into a temporary folder. Three processes, all on the
same core, take turns of one window's meta-steps: one that holds everything, one that streams, and
another that holds everything, whose ratio to the first shows how much such ratios vary. Printed are
medians over rounds with quartiles. Seconds are processor time, loading included; what a process
waits for its data shows in the last column, the part of the time on the clock that meta-steps
waited for their window. Memory is the most that each process had.
"""

import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from absl import app, flags

_LIMIT = flags.DEFINE_float("limit_mb", 320.0, "What all windows together may take.")
_ROUNDS = flags.DEFINE_integer("rounds", 15, "Turns of each process.")
_STEPS = flags.DEFINE_integer("steps_per_window", 10, "Meta-steps of a window, and of a turn.")
_OPTIMIZER = flags.DEFINE_string("optimizer", "adafac_mlp", "What is meta-trained.")
_HIDDEN = flags.DEFINE_list("hidden", ["32"], "Widths of the network's hidden layers.")
_FOLDER = flags.DEFINE_string("folder", None, "Of the data; makes this process one of the three.")
_STREAM = flags.DEFINE_bool("stream", False, "Which one.")

_COUNT = 200_000
_PAIRS, _LENGTH = 8, 20


class Worker:
    """A process that takes the meta-steps of a window when it is told to."""

    def __init__(self, folder: str, stream: bool) -> None:
        command = [sys.executable, __file__, *sys.argv[1:], f"--folder={folder}"]
        self._process = subprocess.Popen(
            [*command, f"--stream={stream}"],
            env={**os.environ, "JAX_PLATFORMS": "cpu"},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def turn(self) -> list[float]:
        """Processor time, time on the clock and time of waiting, in seconds; peak memory in MB."""
        assert self._process.stdin
        assert self._process.stdout
        print("go", file=self._process.stdin, flush=True)
        line = self._process.stdout.readline()
        if not line:
            raise SystemExit(f"a worker ended with status {self._process.wait()}")
        return [float(word) for word in line.split()]

    def close(self) -> None:
        """Let it end."""
        self._process.communicate()


def main(_: list[str]) -> None:
    if _FOLDER.value is not None:
        work(Path(_FOLDER.value))
        return
    with tempfile.TemporaryDirectory() as folder:
        write(Path(folder))
        workers = [Worker(folder, stream) for stream in (False, True, False)]
        for worker in workers:
            worker.turn()  # compiles
        rows = [[worker.turn() for worker in workers] for _ in range(_ROUNDS.value)]
        for worker in workers:
            worker.close()
    steps = 2 * _PAIRS * _LENGTH * _STEPS.value
    for i, name in enumerate(("held whole", "streamed", "held whole again")):
        rates = [steps / row[i][0] for row in rows]
        ratios = [100 * row[0][0] / row[i][0] for row in rows]
        waits = [100 * row[i][2] / row[i][1] for row in rows]
        low, middle, high = statistics.quantiles(ratios, n=4)
        print(
            f"{name:17} {statistics.median(rates):8,.0f} inner steps/s  {middle:5.1f} % "
            f"({low:.1f}-{high:.1f})  {rows[-1][i][3]:6,.0f} MB  waits "
            f"{statistics.median(waits):.2f} %"
        )


def write(folder: Path) -> None:
    """A data set whose images are brighter or darker by their label."""
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 10, _COUNT)
    np.save(folder / "labels.npy", labels)
    shape = (_COUNT, 32, 32, 3)
    images = np.lib.format.open_memmap(folder / "images.npy", "w+", np.uint8, shape)
    for start in range(0, _COUNT, 10_000):
        noise = rng.integers(0, 150, (10_000, *shape[1:]), dtype=np.uint8)
        brightness = 10 * labels[start : start + 10_000].astype(np.uint8)
        images[start : start + 10_000] = noise + brightness[:, None, None, None]
    images.flush()


def work(folder: Path) -> None:
    """Take turns until the input ends."""
    os.sched_setaffinity(0, [min(os.sched_getaffinity(0))])
    from launch import cli

    cli.one_arena_per_thread()  # as in a run
    import jax
    import optax

    import lopt
    import tasks
    from meta_train import PES, LoptSystem, MetaTrainer
    from meta_train.run import Run

    with tasks.data_limit(_LIMIT.value if _STREAM.value else None):
        hidden = tuple(int(width) for width in _HIDDEN.value)
        task = tasks.make("cifar10_mlp", dataset=str(folder), hidden=hidden, batch_size=64)
    system = LoptSystem(lopt.LOPTS[_OPTIMIZER.value](), task)
    estimator = PES(100, _LENGTH, num_pairs=_PAIRS, std=0.01)
    trainer = MetaTrainer([system], estimator, optax.adam(1e-3))
    with tempfile.TemporaryDirectory() as here:
        run = Run(
            trainer, jax.random.key(0), here,
            meta_steps=10**6, steps_per_window=_STEPS.value,
        )  # fmt: skip
        for _ in sys.stdin:
            print(*turn(run), flush=True)
        run.close()


def turn(run):
    """The numbers of ``Worker.turn``."""
    import jax

    waited, began, cpu = 0.0, time.perf_counter(), time.process_time()
    for _ in range(_STEPS.value):
        asked = time.perf_counter()
        run.windows.at(run.meta_step)
        waited += time.perf_counter() - asked
        jax.block_until_ready(run.step())
    taken = time.process_time() - cpu, time.perf_counter() - began
    status = Path("/proc/self/status").read_text()
    peak = next(line for line in status.splitlines() if line.startswith("VmHWM"))
    return *taken, waited, int(peak.split()[1]) / 1e3


if __name__ == "__main__":
    sys.path.insert(0, os.getcwd())
    app.run(main)
