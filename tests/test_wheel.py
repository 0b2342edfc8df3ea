"""The built wheel, installed in a new environment, beside a user's modules of the same names."""

import json
import os
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PACKAGES = ("lopt", "tasks", "meta_train", "checkpoints", "configs", "launch")


def run(*command, cwd, **environment):
    environment = {**os.environ, "JAX_PLATFORMS": "cpu", **environment}
    environment.pop("PYTHONPATH", None)  # as a user's shell
    done = subprocess.run(
        list(map(str, command)), cwd=cwd, env=environment, capture_output=True, text=True,
        timeout=180, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def installed(tmp_path_factory):
    """The folder of commands of a new environment with the wheel.

    What lopt depends on is seen there through this environment, so that nothing is downloaded.
    """
    folder = tmp_path_factory.mktemp("wheel")
    source = folder / "source"
    for name in PACKAGES:
        shutil.copytree(ROOT / name, source / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source)
    build = ("pip", "wheel", "--no-deps", "--no-build-isolation", "--wheel-dir=.", "./source")
    run(sys.executable, "-m", *build, cwd=folder)
    (wheel,) = folder.glob("lopt-*.whl")
    run(sys.executable, "-m", "venv", "--without-pip", "new", cwd=folder)
    scheme = {"base": str(folder / "new"), "platbase": str(folder / "new")}
    site_packages = Path(sysconfig.get_path("purelib", "venv", vars=scheme))
    (site_packages / "dependencies.pth").write_text(sysconfig.get_path("purelib") + "\n")
    new_python = Path(sysconfig.get_path("scripts", "venv", vars=scheme)) / "python"
    run(sys.executable, "-m", "pip", "--python", new_python, "install", "--no-deps", wheel,
        cwd=folder)  # fmt: skip
    return new_python.parent


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
