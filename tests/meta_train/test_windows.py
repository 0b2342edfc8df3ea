"""Runs on data that stream: which examples a meta-step sees, and that it is the same ones again."""

import dataclasses
import os
import subprocess
import sys
import threading
from contextlib import closing

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import lopt
import tasks
from meta_train import PES, LoptSystem, MetaTrainer
from meta_train.parallel import Devices
from meta_train.run import Run, RunFailed
from meta_train.systems.windows import Windows
from tasks.datasets.stream import Stream

KEY = jax.random.key(5)
SEED = (0, 5)
LIMIT = 0.01021
"""Of 11.05 kB; beside the 130 examples of valid and test a window has 20 of train."""


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("images")
    rng = np.random.default_rng(0)
    np.save(folder / "images.npy", rng.integers(0, 256, (650, 4, 4), dtype=np.uint8))
    np.save(folder / "labels.npy", rng.integers(0, 10, 650))
    return folder


def make_trainer(folder, limit=LIMIT, devices=1):
    with tasks.data_limit(limit):
        task = tasks.make("digits_mlp", dataset=str(folder), hidden=(), batch_size=8)
    estimator = PES(12, 4, num_pairs=2, std=0.1)
    return MetaTrainer(
        [LoptSystem(lopt.LOPTS["sgd_schedule"](), task)], estimator, optax.adam(1e-2),
        devices=Devices(devices),
    )  # fmt: skip


def make_run(where, trainer, meta_steps=9, steps_per_window=2):
    return Run(trainer, KEY, where, meta_steps=meta_steps, steps_per_window=steps_per_window)


def end_of(run):
    with closing(run):
        run.train()
        return leaves(run.state)


def leaves(state):
    return [
        np.asarray(jax.random.key_data(x) if jnp.issubdtype(x.dtype, jax.dtypes.prng_key) else x)
        for x in jax.tree.leaves(state)
    ]


def same(first, second):
    return all(np.array_equal(a, b) for a, b in zip(first, second, strict=True))


@pytest.fixture(scope="module")
def streamed(folder):
    """Compiled once."""
    return make_trainer(folder)


@pytest.fixture(scope="module")
def whole_run(streamed, tmp_path_factory):
    return end_of(make_run(tmp_path_factory.mktemp("whole"), streamed))


def test_a_run_on_windows_is_one_on_data_sets_of_their_examples(folder, streamed, whole_run):
    """Both partners of a pair, all particles and all inner steps draw from the meta-step's window,
    which no perturbation enters."""
    trainer = make_trainer(folder, limit=None)
    (system,) = trainer.systems
    data = system.task.data
    stream = Stream(jax.device_get(data), streamed.systems[0].task.data.num_train)

    def at(number, seed):
        images, labels = stream.window(number, seed)
        part = dataclasses.replace(data, images=images, labels=labels, num_train=stream.size)
        task = dataclasses.replace(system.task, data=part)
        return dataclasses.replace(trainer, systems=[dataclasses.replace(system, task=task)])

    state = at(0, ()).init(KEY)  # from the window that evaluations have
    for meta_step in range(9):
        state, _ = at(meta_step // 2, SEED).step(state)
    assert same(leaves(state), whole_run[: len(leaves(state))])
    state = at(0, ()).init(KEY)
    for _ in range(9):
        state, _ = at(0, SEED).step(state)
    assert not same(leaves(state), whole_run[: len(leaves(state))])


@pytest.mark.parametrize("stop", [3, 4])
def test_a_run_that_is_stopped_within_a_window_or_after_goes_on_exactly(
    stop, streamed, whole_run, tmp_path
):
    with closing(make_run(tmp_path, streamed)) as run:
        run.train(lambda: run.meta_step == stop)
        run.save()
    resumed = make_run(tmp_path, streamed)
    assert resumed.restore()
    assert same(end_of(resumed), whole_run)


def test_dispatches_end_with_their_window(streamed, whole_run, tmp_path):
    """So that their length enters nothing; that of the windows does."""
    longer = dataclasses.replace(streamed, steps_per_dispatch=5)
    with closing(make_run(tmp_path / "a", longer)) as run:
        lengths = []
        while run.meta_step < run.meta_steps:
            lengths.append(len(run.step()["meta_loss"]))
        assert lengths == [2, 2, 2, 2, 1]
        assert same(leaves(run.state), whole_run)
    other = make_run(tmp_path / "b", streamed, steps_per_window=3)
    assert not same(end_of(other), whole_run)


def test_the_next_window_is_loaded_meanwhile_and_none_after_the_last(streamed, monkeypatch):
    asked, loaded = [], threading.Event()
    window = Stream.window

    def watched(stream, number, seed):
        asked.append((number, threading.current_thread() is threading.main_thread()))
        loaded.set()
        return window(stream, number, seed)

    monkeypatch.setattr(Stream, "window", watched)
    windows = Windows(streamed, KEY, 2, 9)
    for meta_step in range(9):
        loaded.clear()
        current = windows.at(meta_step)
        if meta_step in (0, 2, 4, 6):
            assert loaded.wait(60)  # without being asked for it
        assert current is windows.at(meta_step)
    windows.close()
    assert asked == [(number, False) for number in range(5)]


def test_where_nothing_streams_the_trainer_is_as_it_was(folder):
    trainer = make_trainer(folder, limit=None)
    windows = Windows(trainer, KEY, 2, 9)
    assert all(windows.at(n) is trainer for n in (0, 5))
    assert (windows.end(3), windows.num_bytes, str(windows)) == (9, 0, "")
    with pytest.raises(ValueError, match="steps_per_window = 0"):
        Windows(trainer, KEY, 0, 9)


def test_memory_counts_every_window_and_people_are_told_of_them(streamed, tmp_path):
    with closing(make_run(tmp_path, streamed)) as run:
        memory, alone = run.compile(), run.trainer.memory()
        assert str(run.windows) == "; data stream in windows of 20 of 520 examples"
    assert memory.rest - alone.rest == 3 * (20 + 130) * 17
    assert 0 <= LIMIT * 1e6 - 4 * (20 + 130) * 17 < 4 * 17  # no more would fit


def test_data_that_are_gone_end_the_run_with_a_reason(folder, tmp_path):
    for name in ("images.npy", "labels.npy"):
        (tmp_path / name).write_bytes((folder / name).read_bytes())
    with closing(make_run(tmp_path / "run", make_trainer(tmp_path))) as run:
        (tmp_path / "images.npy").unlink()
        with pytest.raises(RunFailed, match=r"meta-step 1 cannot be read .*images.npy"):
            run.train()


@pytest.mark.slow
def test_memory_is_bounded_by_the_limit_and_not_by_the_data(tmp_path):
    """164 MB of images: all windows of them in 60 MB, and the copies that loading makes."""
    images = np.lib.format.open_memmap(tmp_path / "images.npy", "w+", np.uint8, (160_000, 32, 32))
    images[:] = np.arange(32, dtype=np.uint8)[None]
    images.flush()
    np.save(tmp_path / "labels.npy", np.arange(len(images)) % 10)
    program = (
        "import sys\n"
        "import jax\n"
        "from tests.meta_train.test_windows import KEY, make_trainer\n"
        "from meta_train.systems.windows import Windows\n"
        "def peak():\n"
        "    lines = open('/proc/self/status').read().splitlines()\n"
        "    return next(int(x.split()[1]) / 1e3 for x in lines if x.startswith('VmHWM'))\n"
        "jax.block_until_ready(jax.numpy.zeros(9))\n"
        "before = peak()\n"
        "windows = Windows(make_trainer(sys.argv[1], eval(sys.argv[2])), KEY, 1, 30)\n"
        "for meta_step in range(30):\n"
        "    jax.block_until_ready(windows.at(meta_step).systems)\n"
        "windows.close()\n"
        "print(peak() - before)\n"
    )

    def growth(limit):
        command = [sys.executable, "-c", program, str(tmp_path), repr(limit)]
        done = subprocess.run(command, check=True, capture_output=True, text=True)
        return float(done.stdout)

    assert growth(60.0) < 120
    assert growth(None) > 160


@pytest.mark.slow
def test_several_devices_have_the_same_windows(folder, whole_run, tmp_path):
    program = (
        "import sys\n"
        "from pathlib import Path\n"
        "import numpy as np\n"
        "from tests.meta_train.test_windows import end_of, make_run, make_trainer\n"
        "folder, where = map(Path, sys.argv[1:])\n"
        "end = end_of(make_run(where, make_trainer(folder, devices=2)))\n"
        "np.savez(where / 'end.npz', *end)\n"
    )
    flags = {"XLA_FLAGS": "--xla_force_host_platform_device_count=2", "JAX_PLATFORMS": "cpu"}
    command = [sys.executable, "-c", program, str(folder), str(tmp_path)]
    subprocess.run(command, env={**os.environ, **flags}, check=True)
    with np.load(tmp_path / "end.npz") as end:
        for found, expected in zip(end.values(), whole_run, strict=True):
            np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-6)
