"""Every mistake in an evaluation ends at once, with one line and exit status 2."""

import pytest

from tests.launch.evaluate.conftest import SMALL


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["--config.tasks=quadratc"], "did you mean 'quadratic'"),
        (["--config.tasks.quadratic.dimm=3"], "did you mean 'dim'"),
        (["--config.tasks={}"], "config.tasks is empty"),
        (["--config.tasks.quadratic.set=heldout"], "did you mean 'held_out'"),
        (["--config.tasks.quadratic.held_out=False"], "is now called set, one of meta_training"),
        (["--config.baselines=adm"], "did you mean 'adam'"),
        (["--config.baselines.adam.b3=1"], "adam has no field 'b3'"),
        (["--config.baselines.adam.b1=x"], "config.baselines.adam"),
        (["--config.baselines=lbfgs"], "config.baselines.lbfgs (lbfgs)"),
        (["--config.baselines={}", "--config.reference=()"], "nothing to judge"),
        (["--config.reference=lion"], "names none of config.baselines (adam, sgd_momentum)"),
        (["--config.axes={'x2': {'quadratc': {'dim': 4}}}"], "did you mean 'quadratic'"),
        (["--config.axes={'x2': {'quadratic': {'dimm': 4}}}"], "config.axes.x2.quadratic.dimm"),
        (["--config.axes={'x2': {'quadratic': {'num_steps': 3}}}"], "no multiple of config.num_po"),
        (["--config.axes={'x2': {'quadratic': {'declared_num_steps': 0}}}"], "steps = 0 must be"),
        (["--config.num_seeds=1"], "config.num_seeds = 1 must be at least 2"),
        (["--config.num_points=3"], "20 inner steps are no multiple"),
        (["--config.num_steps=0"], "config.num_steps = 0 must be at least 1"),
        (["--config.tuning.num_grid=0"], "config.tuning.num_grid = 0"),
        (["--config.tuning.criterion=mean"], "did you mean 'mean_loss'"),
        (["--config.workers=0"], "config.workers = 0 must be at least 1"),
        (["--config.meta_steps=3"], "config has no field 'meta_steps'"),
        (["--config.imports=nowhere.py"], "nowhere.py does not exist"),
        (["nowhere"], "'nowhere' does not exist"),
        (["tests"], "not a bundle"),
    ],
)
def test_mistake(user_error, tmp_path, words, expected):
    assert expected in user_error("evaluate", *SMALL, *words, f"--workdir={tmp_path}")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["--workdir=w"], "--config is missing"),
        (["--config=held_out"], "--workdir is missing"),
        (["--config=held_ot", "--workdir=w"], "did you mean 'held_out'"),
        (["--config=digits_mlp_pes", "--workdir=w"], "is a config of `lopt meta-train`"),
        (["--config=held_out", "--wrkdir=w"], "did you mean 'workdir'"),
    ],
)
def test_mistake_on_the_command_line(user_error, words, expected):
    assert expected in user_error("evaluate", *words)


def test_folder_of_a_run(user_error, tmp_path):
    (tmp_path / "metrics.jsonl").write_text("{}\n")
    line = user_error("evaluate", *SMALL, f"--workdir={tmp_path}")
    assert "holds a meta-training run; choose another folder" in line
