"""Every mistake in a meta-train command ends at once, with one line and exit status 2."""

import os
import pwd
import time

import pytest

from launch import errors, workdir

BASE = ("meta-train", "--config=base", "--config.tasks=quadratic")


@pytest.mark.parametrize(
    ("overrides", "expected"),
    [
        (["--config.optimizer.name=mpl"], "config.optimizer.name 'mpl'; did you mean 'mlp'"),
        (["--config.estimator.name=ps"], "config.estimator.name 'ps'; did you mean"),
        (["--config.tasks=digits_mpl"], "did you mean 'digits_mlp'"),
        (["--config.tasks.digit.weight=2.0"], "config.tasks.digit.name 'digit'"),
        (["--config.comparison.held_out=quadratc"], "comparison.held_out"),
        (["--config.system.name=lpot"], "config.system.name 'lpot'"),
        (["--config.meta_optimizer.name=adm"], "config.meta_optimizer.name 'adm'"),
        (["--config.estimator.horizon={'name': 'log_unifrm'}"], "config.estimator.horizon"),
        (["--config.estimator.horizon=abc"], "config.estimator.horizon"),
        (["--config.estimator.horizon=0"], "config.estimator.horizon"),
        (["--config.estimator.truncation_length=1001"], "1001"),
        (["--config.estimator.num_pairs=0"], "num_pairs = 0"),
        (["--config.estimator.std=0"], "std = 0"),
        (["--config.estimator.stdd=1"], "pes has no field 'stdd'; did you mean 'std'?"),
        (["--config.optimizer.hiden=(8,)"], "mlp has no field 'hiden'; did you mean 'hidden'?"),
        (["--config.optimizer.hidden=8.5"], "config.optimizer"),
        (["--config.tasks.quadratic.dimm=3"], "did you mean 'dim'?"),
        (["--config.tasks.quadratic.dim=0"], "dim"),
        (["--config.tasks.quadratic.dim=x"], "config.tasks.quadratic.dim = 'x'"),
        (["--config.tasks.quadratic.weight=0"], "weight = 0.0 must be above 0"),
        (["--config.tasks={}"], "config.tasks is empty"),
        (["--config.objective.kind=men"], "men"),
        (["--config.objective.split=test"], "test"),
        (["--config.objective.clip=0.5"], "0.5"),
        (["--config.objective.measure=accuracy"], "objective.measure = 'accuracy'; known: loss"),
        (["--config.objective.measure=error"], "quadratic has none"),
        (["--config.meta_steps=0"], "config.meta_steps = 0 must be at least 1"),
        (["--config.meta_validation.num_seeds=0"], "config.meta_validation.num_seeds = 0"),
        (["--config.comparison.num_seeds=1"], "at least 2, or 0"),
        (
            ["--config.comparison.baselines=('adam', 'lio')"],
            "comparison.baselines 'lio'; did you mean",
        ),
        (["--config.comparison.baselines=()"], "config.comparison.baselines is empty"),
        (["--config.comparison.baselines=((),)"], "unknown config.comparison.baselines ()"),
        (["--config.comparison.num_steps=0"], "config.comparison.num_steps = 0"),
        (["--config.meta_validation.tasks=quadratic"], "tasks.quadratic is the same task as"),
        (["--config.comparison.held_out={'x': {'name': 'quadratic', 'seed': 0}}"],
         "config.comparison.held_out.x is the same task as config.tasks.quadratic"),
        (["--config.systems_per_step=2"], "systems_per_step = 2 must be between 1 and the 1"),
        (["--config.systems_per_step=1.5"], "config.systems_per_step = 1.5 must be a whole number"),
        (["--config.imports=nowhere.py"], "nowhere.py does not exist"),
        (["--config.writers=wandbb"], "unknown config.writers 'wandbb'; did you mean 'wandb'?"),
        (["--config.writers=('tensorboard', 3)"], "config.writers"),
        (["--config.profile=(5, 4)"], "config.profile = (5, 4) must be the first and the last of"),
        (["--config.profile=(1, 2000)"], "between 1 and meta_steps = 1000"),
        (["--config.profile=(0, 4)"], "config.profile"),
        (["--config.profile=7"], "config.profile"),
    ],
)  # fmt: skip
def test_mistake_found_while_building(user_error, tmp_path, overrides, expected):
    line = user_error(*BASE, *overrides, f"--workdir={tmp_path / 'w'}")
    assert expected in line
    assert not (tmp_path / "w" / "config.json").exists()


def test_batch_larger_than_the_split(user_error, tmp_path):
    overrides = ["--config.tasks=digits_mlp", "--config.tasks.digits_mlp.batch_size=100000"]
    overrides += ["--config.meta_steps=1", "--config.comparison.num_seeds=0"]
    line = user_error(*BASE[:2], *overrides, f"--workdir={tmp_path}")
    assert "100000" in line


@pytest.mark.parametrize(
    ("override", "expected"),
    [
        ("--config.data_limit_mb=0.1", "too small to stream dataset 'digits'"),
        ("--config.data_limit_mb=0.1", "give at least 0.12"),  # all of it
        ("--config.data_limit_mb=0", "config.data_limit_mb = 0.0 must be above 0"),
        ("--config.steps_per_window=0", "config.steps_per_window = 0 must be at least 1"),
        ("--config.tasks.digits_mlp.dataset=./nowhere", "nowhere/images.npy is not there"),
        ("--config.tasks.digits_mlp.dataset=gs://a/b", "gs://a/b must be a folder of this machine"),
    ],
)
def test_data_that_cannot_stream(user_error, tmp_path, override, expected):
    tasks = "--config.tasks=digits_mlp"
    assert expected in user_error(*BASE[:2], tasks, override, f"--workdir={tmp_path}")


def test_data_larger_than_the_memory(user_error, tmp_path, monkeypatch):
    monkeypatch.setattr("launch.build.free_bytes", lambda: 100_000)
    line = user_error(*BASE[:2], "--config.tasks=digits_mlp", f"--workdir={tmp_path}")
    assert "config.tasks.digits_mlp (digits_mlp): dataset 'digits' takes 0.1 MB" in line
    assert "0.1 MB of memory is free; set config.data_limit_mb" in line


@pytest.mark.parametrize(
    ("wanted", "expected"),
    [
        ((*BASE[:2], "--config.tasks=mnist_mlp"), "lopt data prepare mnist"),
        (("meta-train", "--config=many_hyperparameters"), "lopt data prepare fashion_mnist"),
    ],
)
def test_missing_data_says_what_to_run(user_error, tmp_path, wanted, expected):
    line = user_error(*wanted, f"--config.data_dir={tmp_path}", f"--workdir={tmp_path}")
    assert expected in line


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["meta-train", "--workdir=w"], "--config is missing"),
        (["meta-train", "--config=base"], "--workdir is missing"),
        (["meta-train", "--config=base", "--workdir="], "--workdir is missing"),
        (["meta-train", "--config=base", "--workdir=s3://bucket/run"], "Orbax writes"),
        (["meta-train", "--config=base", "--workdir=gs://"], "names no bucket"),
        (["meta-train", "--config=base", "--wrkdir=w"], "did you mean 'workdir'?"),
        (["meta-train", "--config=base", "--workdir=w", "more"], "unexpected argument 'more'"),
        (["meta-train", "--config=bse", "--workdir=w"], "did you mean 'base'?"),
        (["meta-train", "--config=no.py", "--workdir=w"], "no.py does not exist"),
        (["meta-train", "--config=base", "--workdir=w", "--config.sed=1"], "did you mean 'seed'?"),
    ],
)
def test_mistake_on_the_command_line(user_error, tmp_path, monkeypatch, arguments, expected):
    monkeypatch.chdir(tmp_path)
    assert expected in user_error(*arguments)
    assert list(tmp_path.iterdir()) == []


def test_workdir_below_a_file(user_error, tmp_path):
    (tmp_path / "file").write_text("")
    assert "cannot be written" in user_error(*BASE, f"--workdir={tmp_path / 'file' / 'w'}")


@pytest.fixture
def ordinary_user():
    """Root may write everywhere: for a while this process is nobody."""
    user = os.geteuid()
    if user == 0:
        os.seteuid(pwd.getpwnam("nobody").pw_uid)
    yield
    os.seteuid(user)


def test_workdir_without_permission(ordinary_user):
    with pytest.raises(errors.UserError, match=r"cannot be written \(Permission denied\)"):
        workdir.prepare("/")


def test_workdir_that_holds_a_run(user_error, tmp_path):
    (tmp_path / "metrics.jsonl").write_text("{}\n")
    assert "holds a run without checkpoints" in user_error(*BASE, f"--workdir={tmp_path}")


def test_process_ends_at_once(lopt_command, tmp_path):
    started = time.monotonic()
    missing = ("--config.tasks=cifar10_mlp", "--config.data_dir=/nowhere")
    done = lopt_command(*BASE[:2], *missing, f"--workdir={tmp_path}")
    assert done.returncode == 2
    assert len(done.stderr.splitlines()) == 1
    assert done.stdout == ""
    # 5 s on a machine that does nothing else; imports take two of them.
    assert time.monotonic() - started < 15
