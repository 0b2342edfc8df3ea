"""Whole runs of the real commands, one of them in a process of its own."""

import ast
import contextlib
import json
import subprocess
import sys
import textwrap
from unittest import mock

import numpy as np
import pytest

import lopt
import meta_train
import tasks
from launch import cli

TINY = (
    "--config=base",
    "--config.tasks={'quadratic': {'dim': 3}}",
    "--config.comparison.held_out={'other': {'name': 'quadratic', 'dim': 3, 'seed': 1}}",
    "--config.meta_steps=4",
    "--config.steps_per_dispatch=2",
    "--config.estimator.horizon=6",
    "--config.estimator.truncation_length=3",
    "--config.estimator.num_pairs=2",
    "--config.optimizer.name=sgd_schedule",
    "--config.meta_validation.every_steps=2",
    "--config.meta_validation.num_seeds=2",
    "--config.comparison.num_seeds=2",
    "--config.comparison.baselines=schedule_free",
    "--config.devices.count=1",  # runs in this process and in others are compared bit for bit
)
"""A whole run in seconds, with every part of it."""


@pytest.fixture(scope="module")
def finished(lopt_command, tmp_path_factory):
    """Work folder and output of one run, shared by the tests that only look."""
    folder = tmp_path_factory.mktemp("run") / "new" / "folder"
    done = lopt_command("meta-train", *TINY, f"--workdir={folder}")
    assert done.returncode == 0, done.stderr
    return folder, done


def run(*arguments):
    """A run in this process."""
    assert cli.main(["meta-train", *map(str, arguments)]) == 0


def lines(folder):
    text = (folder / "metrics.jsonl").read_text(encoding="utf-8")
    return [json.loads(line) for line in text.splitlines()]


def test_run_leaves_everything_in_its_folder(finished):
    folder, _ = finished
    left = {path.name for path in folder.iterdir()}
    assert left == {
        "config.json",
        "metrics.jsonl",
        "events",
        "meta_loss.png",
        "comparison.png",
        "comparison",
        "bundle",
        "bundle_last",
        "checkpoints",
        "finished.json",
        ".lock",
    }
    assert list((folder / "events").iterdir())


def test_every_meta_step_is_recorded(finished):
    folder, _ = finished
    steps = [line for line in lines(folder) if "meta_loss" in line]
    assert [line["meta_step"] for line in steps] == [1, 2, 3, 4]
    for line in steps:
        assert {"grad_norm", "snr", "diverged", "inner_steps_per_s", "seconds"} <= set(line)
        assert line["meta_loss"] > 0
    validations = [line for line in lines(folder) if "meta_valid_loss" in line]
    assert [line["meta_step"] for line in validations] == [2, 4]


def test_resolved_config_repeats_the_run(finished, tmp_path):
    folder, _ = finished
    config = json.loads((folder / "config.json").read_text())
    assert config["estimator"]["truncation_length"] == 3
    more = ("--config.comparison.num_seeds=0", "--config.meta_validation.every_steps=0")
    run(f"--config={folder / 'config.json'}", f"--workdir={tmp_path}", *more)
    expected = [line["meta_loss"] for line in lines(folder) if "meta_loss" in line]
    assert [line["meta_loss"] for line in lines(tmp_path) if "meta_loss" in line] == expected


def test_log_shows_progress_and_the_comparison(finished):
    _, done = finished
    assert done.stderr == ""
    assert "meta-step 2/4 " in done.stdout
    assert "meta-step 4/4 " in done.stdout
    assert "quadratic (meta-training task): learned " in done.stdout
    assert "other: learned " in done.stdout


def test_bundles_hold_the_best_and_the_last_theta(finished):
    folder, _ = finished
    valid = {x["meta_step"]: x["meta_valid_loss"] for x in lines(folder) if "meta_valid_loss" in x}
    best, last = lopt.load_bundle(folder / "bundle"), lopt.load_bundle(folder / "bundle_last")
    assert best.card["meta_training"]["meta_steps"] == min(valid, key=valid.__getitem__)
    assert best.card["meta_training"]["meta_validation_loss"] == min(valid.values())
    assert {entry["task"] for entry in best.card["evaluation"]} == {"quadratic", "other"}
    assert last.card["meta_training"]["meta_steps"] == 4
    assert best.optimizer == last.optimizer
    assert best.card["horizon"] == 6
    assert lopt.load(folder / "bundle").init({"w": np.zeros(2, np.float32)}) is not None


def test_export_of_a_run(finished, tmp_path):
    folder, _ = finished
    out = tmp_path / "out"
    assert cli.main(["export", str(folder), str(out)]) == 0
    exported, last = lopt.load_bundle(out), lopt.load_bundle(folder / "bundle_last")
    assert exported.theta == last.theta
    assert exported.card["config"] == last.card["config"]
    training = exported.card["meta_training"]
    assert training["inner_steps_in_all"] == 4 * 4 * 3  # meta-steps, particles, K
    assert training["seconds_in_all"] > 0
    best = lopt.load_bundle(folder / "bundle").card["meta_training"]["meta_steps"]
    assert cli.main(["export", str(folder), str(out), f"--step={best}"]) == 0
    assert {row["task"] for row in lopt.load_bundle(out).card["evaluation"]} == {
        "quadratic",
        "other",
    }


@pytest.mark.slow
def test_module_is_the_same_command(finished, lopt_command, tmp_path):
    folder, _ = finished
    again = lopt_command(
        *("meta-train", *TINY)[1:], f"--workdir={folder}", module="launch.meta_train"
    )
    assert again.returncode == 0, again.stderr
    assert "is finished: 4 meta-steps are done" in again.stdout
    new = tmp_path / "new"
    done = lopt_command(
        *TINY, "--config.comparison.num_seeds=0", f"--workdir={new}", module="launch.meta_train"
    )
    assert done.returncode == 0, done.stderr
    losses = [[x["meta_loss"] for x in lines(f) if "meta_loss" in x] for f in (folder, new)]
    assert losses[0] == losses[1]


USER_CODE = """
    import dataclasses

    import flax.struct
    import jax
    import jax.numpy as jnp
    import numpy as np
    import optax

    import lopt
    import meta_train
    import tasks


    @dataclasses.dataclass(frozen=True)
    class Scale(lopt.LearnedOptimizer):
        start: float = -2.0

        def init(self, key):
            return {"log_rate": jnp.full((), self.start, jnp.float32)}

        def bind(self, theta, num_steps=None):
            return optax.with_extra_args_support(optax.sgd(jnp.exp(theta["log_rate"])))


    @flax.struct.dataclass
    class Bowl(tasks.Task):
        width: int = flax.struct.field(pytree_node=False, default=2)

        def init(self, key, cfg):
            return jax.random.normal(key, (self.width,))

        def loss(self, key, cfg, params, batch):
            return jnp.mean(jnp.square(params)), {}

        def batch(self, key, cfg, split):
            return ()


    def stripes(data_dir):
        images = np.random.default_rng(0).integers(0, 256, (40, 4, 4), np.uint8)
        return tasks.from_arrays(images, np.arange(40) % 2, num_classes=2)


    @flax.struct.dataclass
    class Line(meta_train.UnrolledSystem):
        slope: float = flax.struct.field(pytree_node=False, default=1.0)

        def init_theta(self, key):
            return {"theta": jnp.ones(3)}

        def init(self, key, theta, horizon):
            return jnp.zeros(3)

        def step(self, key, theta, state):
            state = 0.5 * state + self.slope * theta["theta"]
            return state, jnp.mean(jnp.square(state - 1.0))


    lopt.LOPTS["scale"] = Scale
    tasks.TASKS["bowl"] = Bowl
    tasks.DATASETS["stripes"] = stripes
    meta_train.SYSTEMS["line"] = Line
"""


@pytest.fixture
def outside(tmp_path):
    """A folder that is not the package's, with the user's code and a config in it."""
    (tmp_path / "tasks.py").write_text(textwrap.dedent(USER_CODE), encoding="utf-8")
    registries = (lopt.LOPTS, tasks.TASKS, tasks.DATASETS, meta_train.SYSTEMS)
    with contextlib.ExitStack() as stack:
        for registry in registries:
            stack.enter_context(mock.patch.dict(registry))
        yield tmp_path


def test_outside_optimizer_task_and_dataset(outside):
    (outside / "mine.py").write_text(
        textwrap.dedent(f"""
            from ml_collections import ConfigDict

            def get_config():
                config = ConfigDict({{
                    "imports": ({str(outside / "tasks.py")!r},),
                    "optimizer": {{"name": "scale", "start": -3.0}},
                    "tasks": [
                        {{"name": "bowl", "width": 3, "weight": 2.0}},
                        {{"name": "digits_mlp", "dataset": "stripes", "batch_size": 4}},
                    ],
                }})
                return config
        """),
        encoding="utf-8",
    )
    settings = [word for word in TINY if "tasks" not in word and "optimizer" not in word]
    settings = [word for word in settings if not word.startswith("--config=")]
    run(
        f"--config={outside / 'mine.py'}", *settings, f"--workdir={outside / 'w'}",
        "--config.comparison.held_out={}", "--config.comparison.num_seeds=0",
    )  # fmt: skip
    config = json.loads((outside / "w" / "config.json").read_text())
    assert set(config["tasks"]) == {"bowl", "digits_mlp"}
    assert [line["meta_step"] for line in lines(outside / "w") if "meta_loss" in line][-1] == 4


def test_outside_system(outside):
    run(
        "--config=base", *[word for word in TINY if "estimator" in word],
        "--config.meta_steps=3", "--config.system.name=line", "--config.system.slope=2.0",
        f"--config.imports={outside / 'tasks.py'}", f"--workdir={outside / 'w'}",
    )  # fmt: skip
    from safetensors.numpy import load_file

    theta = load_file(outside / "w" / "bundle" / "theta.safetensors")
    assert theta["theta"].shape == (3,)
    assert not (outside / "w" / "comparison").exists()


def test_startup_imports_nothing_slow():
    code = "import sys, launch.run; print(sorted(sys.modules))"
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    loaded = {name.split(".")[0] for name in ast.literal_eval(shown.stdout)}
    slow = {"matplotlib", "sklearn", "scipy", "tensorflow", "tensorflow_datasets", "orbax"}
    assert not loaded & slow
