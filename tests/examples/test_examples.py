"""The examples run as they stand, and what they train learns."""

import importlib.util
import os
import re
import runpy
import subprocess
import sys

import jax
import pytest

from tests.examples.bundles import EXAMPLES, descending_bundle

JAX_EXAMPLES = ["plain_jax", "flax_nnx", "flax_linen"]
TORCH_EXAMPLE = EXAMPLES / "pytorch_digits.py"


def assert_learns(printed):
    losses = [float(loss) for loss in re.findall(r"^step \d+  loss (.*)$", printed, re.MULTILINE)]
    assert len(losses) == 5, printed
    assert losses[0] > 1.5
    assert losses[-1] < 0.3, losses


def run_example(name):
    with jax.numpy_rank_promotion("allow"):  # JAX's default, which users have
        runpy.run_path(str(EXAMPLES / f"{name}.py"), run_name="__main__")


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=pytest.mark.slow if name == "flax_linen" else ())
        for name in JAX_EXAMPLES
    ],
)
def test_jax_example(name, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", [name])
    run_example(name)
    printed = capsys.readouterr().out
    assert_learns(printed)
    assert float(printed.split()[-1]) < 0.1  # the average, on all images


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=() if name == "plain_jax" else pytest.mark.slow)
        for name in JAX_EXAMPLES
    ],
)
def test_jax_example_with_a_folder(name, tmp_path, monkeypatch, capsys):
    bundle = descending_bundle(tmp_path / "bundle", "mlp")
    monkeypatch.setattr(sys, "argv", [name, str(bundle)])
    run_example(name)
    assert_learns(capsys.readouterr().out)


def test_evaluation_example(capsys):
    run_example("evaluate")
    digits, wine, iris = capsys.readouterr().out.splitlines()
    assert re.match(r"digits_mlp: general \S+, \S+ % below the \S+ of adam; ", digits)
    assert wine.startswith("wine_mlp: general ")
    assert iris.startswith("iris_mlp: general ")


def test_sweep_goes_on_and_prunes_what_falls_behind(tmp_path, capsys):
    optuna = pytest.importorskip("optuna", reason="lopt[dev]")
    spec = importlib.util.spec_from_file_location("sweep", EXAMPLES / "sweep.py")
    assert spec is not None
    sweep = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(sweep)
    sweep.META_STEPS, sweep.VALIDATE_EVERY = 4, 2
    with jax.numpy_rank_promotion("allow"):
        sweep.main(tmp_path, 1)
        study = optuna.load_study(study_name="pes", storage=f"sqlite:///{tmp_path}/sweep.db")
        (first,) = study.trials
        assert list(first.intermediate_values) == [2, 4]
        assert first.value == min(first.intermediate_values.values())
        better = optuna.trial.create_trial(value=0.0, intermediate_values={2: 0.0, 4: 0.0})
        study.add_trials([better] * 4)
        sweep.main(tmp_path, 6)
    assert [trial.state.name for trial in study.trials] == ["COMPLETE"] * 5 + ["PRUNED"]
    assert "6 trials, 1 pruned; best: 0.0000" in capsys.readouterr().out


@pytest.mark.parametrize("is_shipped", [True, False])
def test_torch_example_takes_no_device_of_jax(is_shipped, tmp_path):
    if importlib.util.find_spec("torch") is None:
        pytest.skip("torch is an optional extra: pip install lopt[torch]")
    words = [] if is_shipped else [str(descending_bundle(tmp_path / "bundle", "adafac_mlp"))]
    done = subprocess.run(
        [sys.executable, str(TORCH_EXAMPLE), *words],
        env={**os.environ, "JAX_PLATFORMS": "no_such_device", "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert_learns(done.stdout)


@pytest.mark.parametrize("name", JAX_EXAMPLES)
def test_example_with_too_much_says_how(name, monkeypatch):
    monkeypatch.setattr(sys, "argv", [name, "one", "two"])
    with pytest.raises(SystemExit, match=rf"python examples/{name}\.py"):
        runpy.run_path(str(EXAMPLES / f"{name}.py"), run_name="__main__")
