"""What checkpoints cost: the stall of the loop and the time in the background.

    python tests/benchmarks/checkpoint.py [--megabytes=500] [--repeats=5] [--bucket]

A state of that size, in a hundred arrays, is saved several times; the stall is the time until its
buffers may be overwritten, as the next meta-step does. With --bucket it is also saved, in turns, to
a server on this machine that answers like Google Cloud Storage, which shows what the requests cost
without a network. With --config it also runs that config, and prints the shares of the training
time that the loop waited and that the thread was busy.
"""

import contextlib
import json
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest import mock

from absl import app, flags, logging

_MEGABYTES = flags.DEFINE_integer("megabytes", 500, "Size of the state.")
_REPEATS = flags.DEFINE_integer("repeats", 5, "Saves that are timed.")
_BUCKET = flags.DEFINE_bool("bucket", False, "Also save to a bucket.")
_CONFIG = flags.DEFINE_string("config", None, "Config whose share of time is measured.")
_META_STEPS = flags.DEFINE_integer("meta_steps", 600, "Length of that run.")


def time_saves(megabytes: int, repeats: int, in_bucket: bool) -> None:
    import jax
    import jax.numpy as jnp

    from checkpoints import Saver, Store
    from tests import bucket_server

    arrays = 100
    size = megabytes * 1_000_000 // 4 // arrays
    state = {f"x{i}": jnp.full(size, float(i)) for i in range(arrays)}
    change = jax.jit(lambda tree: jax.tree.map(lambda x: x + 1, tree), donate_argnums=0)
    state = jax.block_until_ready(change(state))
    with contextlib.ExitStack() as opened:
        folders = {"disk": opened.enter_context(tempfile.TemporaryDirectory())}
        if in_bucket:
            opened.enter_context(bucket_server.serve())
            folders["bucket"] = f"{bucket_server.BUCKET}/run"
        savers = {x: Saver(Store(folder, keep_latest=1), sys.exit) for x, folder in folders.items()}
        stalls, totals = ({x: [] for x in folders} for _ in range(2))
        for repeat in range(repeats + 1):  # the first compiles
            for place, saver in savers.items():
                start = time.perf_counter()
                state = jax.block_until_ready(change(state))
                undisturbed = time.perf_counter() - start
                start = time.perf_counter()
                saver.save(repeat, state, {})
                state = jax.block_until_ready(change(state))
                stalls[place].append(time.perf_counter() - start - undisturbed)
                saver.wait()
                totals[place].append(time.perf_counter() - start)
        for saver in savers.values():
            saver.close()
    for place in folders:
        print(f"state of {megabytes} MB, {place}, median and range of {repeats}:")
        print(f"  stall of the loop   {_in_words(stalls[place][1:])}")
        print(f"  until it is written {_in_words(totals[place][1:])}")


def _in_words(seconds: list[float]) -> str:
    low, high = min(seconds), max(seconds)
    return f"{statistics.median(seconds):.3f} s ({low:.3f} to {high:.3f})"


def share_of_run(config: str, meta_steps: int) -> None:
    """What saving takes of the time between a run's first and last record."""
    from checkpoints import Saver, Store
    from launch import cli

    stalls, writes = [], []
    with (
        tempfile.TemporaryDirectory() as folder,
        mock.patch.multiple(Saver, save=_timed(Saver.save, stalls)),
        mock.patch.multiple(Store, start=_timing_finish(Store.start, writes)),
    ):
        status = cli.main([
            "meta-train", f"--config={config}", f"--workdir={folder}",
            f"--config.meta_steps={meta_steps}", "--config.comparison.num_seeds=0",
        ])  # fmt: skip
        assert status == 0
        lines = (Path(folder) / "metrics.jsonl").read_text().splitlines()
    times = [json.loads(line)["seconds"] for line in lines]
    seconds = times[-1] - times[0]
    print(f"{config}: {len(writes)} checkpoints in {seconds:.1f} s of training")
    print(f"  the loop waited      {100 * sum(stalls) / seconds:.2f} % of the time")
    print(f"  the thread was busy  {100 * sum(writes) / seconds:.2f} % of the time")


def _timed(function: Callable[..., Any], seconds: list[float]) -> Callable[..., Any]:
    def timed(*arguments: Any, **keywords: Any) -> Any:
        start = time.perf_counter()
        result = function(*arguments, **keywords)
        seconds.append(time.perf_counter() - start)
        return result

    return timed


def _timing_finish(start: Callable[..., Any], seconds: list[float]) -> Callable[..., Any]:
    """``Store.start``, which returns what finishes the step in the background."""
    return lambda *arguments, **keywords: _timed(start(*arguments, **keywords), seconds)


def main(_: list[str]) -> None:
    logging.set_verbosity(logging.WARNING)
    time_saves(_MEGABYTES.value, _REPEATS.value, _BUCKET.value)
    if _CONFIG.value:
        share_of_run(_CONFIG.value, _META_STEPS.value)


if __name__ == "__main__":
    app.run(main)
