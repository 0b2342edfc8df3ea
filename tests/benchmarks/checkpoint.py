"""What checkpoints cost: the stall of the loop and the time in the background.

    python tests/benchmarks/checkpoint.py [--megabytes=500] [--repeats=5]

A state of that size, in a hundred arrays, is saved several times; the stall is the time until its
buffers may be overwritten, as the next meta-step does. With --config it also takes part in a run of
that config, and prints the share of the training time that checkpoints took.
"""

import json
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from absl import app, flags

_MEGABYTES = flags.DEFINE_integer("megabytes", 500, "Size of the state.")
_REPEATS = flags.DEFINE_integer("repeats", 5, "Saves that are timed.")
_CONFIG = flags.DEFINE_string("config", None, "Config whose share of time is measured.")
_META_STEPS = flags.DEFINE_integer("meta_steps", 600, "Length of that run.")


def time_saves(megabytes: int, repeats: int) -> None:
    import jax
    import jax.numpy as jnp

    from checkpoints import Saver, Store

    arrays = 100
    size = megabytes * 1_000_000 // 4 // arrays
    state = {f"x{i}": jnp.full(size, float(i)) for i in range(arrays)}
    change = jax.jit(lambda tree: jax.tree.map(lambda x: x + 1, tree), donate_argnums=0)
    state = jax.block_until_ready(change(state))
    undisturbed, stalls, totals = [], [], []
    with tempfile.TemporaryDirectory() as folder:
        saver = Saver(Store(Path(folder), keep_latest=1))
        for repeat in range(repeats + 1):  # the first compiles
            start = time.perf_counter()
            state = jax.block_until_ready(change(state))
            undisturbed.append(time.perf_counter() - start)
            start = time.perf_counter()
            failure = saver.save(repeat, state, {})
            state = jax.block_until_ready(change(state))
            stalls.append(time.perf_counter() - start - undisturbed[-1])
            failure = failure or saver.wait()
            totals.append(time.perf_counter() - start)
            if failure:
                raise SystemExit(failure)
        saver.close()
    print(f"state of {megabytes} MB, median of {repeats}:")
    print(f"  stall of the loop   {statistics.median(stalls[1:]):.3f} s")
    print(f"  until it is written {statistics.median(totals[1:]):.3f} s")


def share_of_run(config: str, meta_steps: int) -> None:
    """The same run with checkpoints as configured and with none but the last."""
    seconds = {}
    for every in (None, 0):
        with tempfile.TemporaryDirectory() as folder:
            command = [
                sys.executable, "-m", "launch.cli", "meta-train", f"--config={config}",
                f"--workdir={folder}", f"--config.meta_steps={meta_steps}",
                "--config.comparison.num_seeds=0",
            ]  # fmt: skip
            command += [] if every is None else [f"--config.checkpoint.every_steps={every}"]
            subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
            lines = (Path(folder) / "metrics.jsonl").read_text().splitlines()
            records = [json.loads(line) for line in lines]
            times = [record["seconds"] for record in records if "meta_loss" in record]
            seconds[every] = times[-1] - times[len(times) // 10]
    share = 100 * (seconds[None] / seconds[0] - 1)
    print(f"{config}: {seconds[None]:.2f} s with checkpoints, {seconds[0]:.2f} s without")
    print(f"  share of checkpoints {share:.1f} %")


def main(_: list[str]) -> None:
    time_saves(_MEGABYTES.value, _REPEATS.value)
    if _CONFIG.value:
        share_of_run(_CONFIG.value, _META_STEPS.value)


if __name__ == "__main__":
    app.run(main)
