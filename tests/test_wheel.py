"""The built wheel, installed in a new environment, beside a user's modules of the same names."""

import json
import os
import re
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PACKAGES = ("lopt", "tasks", "meta_train", "checkpoints", "configs", "launch")


def run(*command, cwd, timeout=180, status=0, **environment):
    environment = {**os.environ, "JAX_PLATFORMS": "cpu", **environment}
    for name in ("PYTHONPATH", "XLA_FLAGS"):  # as a user's shell
        environment.pop(name, None)
    done = subprocess.run(
        list(map(str, command)), cwd=cwd, env=environment, capture_output=True, text=True,
        timeout=timeout, check=False,
    )  # fmt: skip
    assert done.returncode == status, done.stdout + done.stderr
    return done.stdout if status == 0 else done.stderr


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    """The built wheel."""
    folder = tmp_path_factory.mktemp("wheel")
    source = folder / "source"
    for name in PACKAGES:
        shutil.copytree(ROOT / name, source / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source)
    build = ("pip", "wheel", "--no-deps", "--no-build-isolation", "--wheel-dir=.", "./source")
    run(sys.executable, "-m", *build, cwd=folder)
    (wheel,) = folder.glob("lopt-*.whl")
    return wheel


def new_environment(folder):
    """Folders of commands and of packages of a new environment."""
    run(sys.executable, "-m", "venv", "--without-pip", "new", cwd=folder)
    scheme = {"base": str(folder / "new"), "platbase": str(folder / "new")}
    paths = (sysconfig.get_path(name, "venv", vars=scheme) for name in ("scripts", "purelib"))
    return tuple(map(Path, paths))


def install(commands, *what, timeout=180):
    pip = (sys.executable, "-m", "pip", "--python", commands / "python", "install")
    run(*pip, *what, cwd=commands, timeout=timeout)


@pytest.fixture(scope="module")
def installed(wheel, tmp_path_factory):
    """The folder of commands of a new environment with the wheel.

    What lopt depends on is seen there through this environment, so that nothing is downloaded.
    """
    commands, packages = new_environment(tmp_path_factory.mktemp("beside"))
    (packages / "dependencies.pth").write_text(sysconfig.get_path("purelib") + "\n")
    install(commands, "--no-deps", wheel)
    return commands


@pytest.fixture(scope="module")
def alone(wheel, tmp_path_factory):
    """Likewise, with what the wheel says it needs and nothing else."""
    commands, _ = new_environment(tmp_path_factory.mktemp("alone"))
    install(commands, "--constraint", ROOT / "constraints.txt", wheel, timeout=600)
    return commands


@pytest.fixture
def foreign_folder(tmp_path):
    """A user's folder whose modules would be imported instead of ours if its path came first."""
    for name in ("tasks", "configs", "launch"):
        (tmp_path / f"{name}.py").write_text("raise ImportError('the wrong module')\n")
    return tmp_path


def test_lopt_is_imported_from_the_wheel(installed, foreign_folder):
    shown = run(installed / "python", "-c", "import lopt; print(lopt.__file__)", cwd=foreign_folder)
    assert Path(shown.strip()).is_relative_to(installed.parent)


def test_bundles_are_in_the_wheel(installed, foreign_folder):
    shown = run(installed / "lopt", "list", "bundles", cwd=foreign_folder)
    folders = [file.parent.name for file in (ROOT / "lopt" / "bundles").glob("*/README.md")]
    assert [line.split()[0] for line in shown.splitlines()] == sorted(folders)
    listing = "print(*(file.relative_to(FOLDER) for file in FOLDER.glob('*/*')))"
    program = f"from lopt.shipped import FOLDER; {listing}"
    found = run(installed / "python", "-c", program, cwd=foreign_folder).split()
    files = ("theta.safetensors", "config.json", "README.md")
    assert sorted(found) == sorted(f"{folder}/{file}" for folder in folders for file in files)


def test_the_command_meta_trains(installed, foreign_folder, tmp_path_factory):
    run(
        installed / "lopt", "meta-train", "--config=digits_mlp_pes", "--workdir=run",
        "--config.tasks={'quadratic': {'dim': 2}}", "--config.estimator.num_pairs=2",
        "--config.meta_steps=2", "--config.optimizer.name=sgd_schedule",
        "--config.estimator.horizon=4", "--config.estimator.truncation_length=2",
        "--config.comparison.num_seeds=0", "--config.meta_validation.num_seeds=1",
        cwd=foreign_folder, LOPT_CACHE_DIR=str(tmp_path_factory.mktemp("cache")),
    )  # fmt: skip
    assert json.loads((foreign_folder / "run" / "finished.json").read_text()) == {"meta_steps": 2}
    assert (foreign_folder / "run" / "bundle").is_dir()


SIZES = """
import importlib.metadata as metadata, json, re

def with_all_it_needs(name, found):
    if name not in found:
        found.add(name)
        for wanted in metadata.requires(name) or ():
            if "extra ==" not in wanted:
                wanted = re.sub("[-_.]+", "-", re.match("[A-Za-z0-9._-]+", wanted)[0]).lower()
                if wanted in installed:
                    with_all_it_needs(wanted, found)
    return found

installed = {re.sub("[-_.]+", "-", dist.name).lower() for dist in metadata.distributions()}
others = set()
for name in ("jax", "numpy", "optax"):
    with_all_it_needs(name, others)
own = installed - others - {"pip", "setuptools"}
print(json.dumps({
    name: sum(file.locate().stat().st_size for file in metadata.files(name)) for name in own
}))
"""
IMPORT = "import time; start = time.process_time(); import lopt; print(time.process_time() - start)"
TRAIN = """
import jax, jax.numpy as jnp, optax
import lopt

tx = lopt.with_options(lopt.load("general", num_steps=100), learning_rate_multiplier=0.9)
inputs = jax.random.normal(jax.random.key(0), (64, 8))
targets = jnp.sin(inputs).sum(axis=1)
loss_of = lambda w: jnp.mean(jnp.square(inputs @ w - targets))
mesh = jax.make_mesh((1,), ("x",), axis_types=(jax.sharding.AxisType.Auto,))
params = jax.device_put(jnp.zeros(8), jax.NamedSharding(mesh, jax.P("x")))
state = jax.jit(tx.init, out_shardings=lopt.state_sharding(tx, params))(params)

@jax.jit
def step(params, state):
    loss, grads = jax.value_and_grad(loss_of)(params)
    updates, state = tx.update(grads, state, params, value=loss)
    return optax.apply_updates(params, updates), state

for _ in range(100):
    params, state = step(params, state)
print(float(loss_of(jnp.zeros(8))), float(loss_of(lopt.evaluation_params(state, params))))
"""
NEED_AN_EXTRA = (
    "meta-train --config=digits_mlp_pes --workdir=a",
    "evaluate general --config=held_out --workdir=a",
    "calibrate --config=general --workdir=a",
    "reproduce toy_regression --workdir=a",
    "report run",
    "inspect run",
    "export general a",
    "list tasks",
    "data list",
    "push general hf://me/general",
    "pull hf://me/general a",
    "import celo2 theta.state a",
)


@pytest.mark.slow
def test_the_core_is_small_and_trains(alone, foreign_folder):
    """Megabytes beyond jax, numpy, optax and what these bring; seconds of processor time."""
    sizes = json.loads(run(alone / "python", "-c", SIZES, cwd=foreign_folder))
    assert set(sizes) == {"lopt", "jaxtyping", "wadler-lindig", "safetensors"}
    assert sum(sizes.values()) < 15e6, sizes
    seconds = [float(run(alone / "python", "-c", IMPORT, cwd=foreign_folder)) for _ in range(3)]
    assert min(seconds) < 1.0
    before, after = run(alone / "python", "-c", TRAIN, cwd=foreign_folder).split()
    assert float(after) < 0.5 * float(before)


@pytest.mark.slow
def test_commands_say_which_extra_they_need(alone, foreign_folder):
    (foreign_folder / "run").mkdir()
    (foreign_folder / "theta.state").touch()
    for words in NEED_AN_EXTRA:
        line = run(alone / "lopt", *words.split(), cwd=foreign_folder, status=2)
        command = words.split()[0]
        extras = {"report": "report", "data": "data", "push": "hub", "pull": "hub"}
        extra = extras.get(command, "train")
        assert re.fullmatch(
            rf"lopt: error: `lopt {command}` needs \w+, which is not installed; "
            rf"run pip install 'lopt\[{extra}\]'\n",
            line,
        ), line
