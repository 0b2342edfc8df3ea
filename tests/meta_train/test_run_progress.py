import io
import re
from unittest import mock

import jax
import optax
from rich.console import Console

from meta_train import PES, MetaTrainer
from meta_train.run import Run, progress
from meta_train.run.tally import Tally
from tests.meta_train.linear_system import SYSTEM, THETA

RECORD = {
    "meta_step": 3,
    "meta_loss": 1.25,
    "grad_norm": 0.5,
    "snr": 2.0,
    "inner_steps_per_s": 1234.0,
}
WORDS = (
    "meta-loss 1.2500",
    "grad-norm 0.5",
    "snr 2.00",
    "diverged 7",
    "skipped 2",
    "1,234 inner",
    "0:01:05 left",
)


def run(seconds_left=65.2):
    tally = mock.Mock(spec=Tally, diverged=7, skipped=2)
    tally.seconds_for.return_value = seconds_left
    return mock.Mock(spec=Run, meta_steps=10, meta_step=3, tally=tally)


def test_lines_first_then_rarely_then_last(capsys, monkeypatch):
    now = [0.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: now[0])
    lines = progress.ProgressLines()
    for step in range(1, 6):
        now[0] = 4.0 * step
        lines.recorded(run(), [{**RECORD, "meta_step": step}])
    lines.close()
    lines.close()
    shown = capsys.readouterr().out.splitlines()
    assert [line.split()[1] for line in shown] == ["1/10", "4/10", "5/10"]
    assert all(word in shown[0] for word in WORDS)


def test_the_first_estimate_of_the_time_is_shown_at_once(capsys, monkeypatch):
    monkeypatch.setattr(progress.time, "monotonic", lambda: 1.0)
    lines = progress.ProgressLines()
    for step, seconds_left in ((1, None), (2, None), (3, 65.2), (4, 60.0)):
        lines.recorded(run(seconds_left), [{**RECORD, "meta_step": step}])
    shown = capsys.readouterr().out.splitlines()
    assert [line.split()[1] for line in shown] == ["1/10", "3/10"]
    assert shown[0].endswith("? left")
    assert shown[1].endswith("0:01:05 left")


def test_bar_shows_the_same(monkeypatch):
    terminal = io.StringIO()
    console = Console(file=terminal, force_terminal=True, width=160)
    bar = progress.ProgressBar(console)
    bar.recorded(run(), [RECORD])
    print("a line that stays")
    bar.close()
    shown = terminal.getvalue()
    assert "3/10" in shown
    assert all(word in shown for word in WORDS)
    assert "a line that stays" in shown


def test_log_gets_lines(capsys):
    assert isinstance(progress.make_progress(), progress.ProgressLines)


def test_what_is_before_the_first_meta_step_is_said_once(tmp_path, capsys):
    trainer = MetaTrainer([SYSTEM], PES(40, 2, num_pairs=8), optax.adam(0.1))
    lines = progress.ProgressLines()
    run = Run(trainer, jax.random.key(0), tmp_path, meta_steps=2, theta=THETA, hooks=[lines])
    # Ages are spread evenly over the 20 truncations of an episode, so that 9.5 is their mean.
    assert 8 < run.run_in() < 11
    run.train()
    assert run.run_in() == 0
    run.close()
    shown = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in shown] == ["clocks", "meta-step", "meta-step"]
    assert re.search(r"the work of about (8|9|10|11) meta-steps", shown[0])


def test_nothing_is_said_where_there_is_nothing(tmp_path, capsys):
    estimator = PES(40, 2, num_pairs=8, staggered=False)
    trainer = MetaTrainer([SYSTEM], estimator, optax.adam(0.1))
    lines = progress.ProgressLines()
    run = Run(trainer, jax.random.key(0), tmp_path, meta_steps=1, theta=THETA, hooks=[lines])
    lines.between(run)
    run.close()
    assert capsys.readouterr().out == ""
