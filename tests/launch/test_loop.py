import dataclasses
from types import SimpleNamespace
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
import pytest
from ml_collections import ConfigDict

from launch import errors, loop, validation
from launch.build import Judges
from launch.signals import StopSignals
from meta_train import PES


class State(NamedTuple):
    theta: object
    steps: object
    meta_opt_state: object = ()


@dataclasses.dataclass(frozen=True)
class Trainer:
    """Counts: theta is the number of meta-steps taken."""

    steps_per_dispatch: int = 1
    shares: tuple = (1.0,)
    estimator: object = PES(10, 5)
    devices: object = None

    def step(self, state):
        taken = state.steps + jnp.arange(1, self.steps_per_dispatch + 1)
        return State(taken[-1], taken[-1]), {"meta_loss": taken}


class Recorder:
    """Writes down the order of calls."""

    def __init__(self, bad_in_a_row=0):
        self.calls = []
        self.bad_in_a_row = bad_in_a_row

    def push(self, last_step, records):
        self.calls.append(("push", last_step, len(records["meta_loss"])))

    def flush(self):
        self.calls.append(("flush",))

    def validation(self, meta_step, loss, best):
        self.calls.append(("valid", meta_step, loss, best))


@pytest.fixture
def losses(monkeypatch):
    """Loss that meta-validation gives for theta = meta-step."""
    table = {}
    monkeypatch.setattr(
        validation.evaluation, "meta_validate", lambda s, w, h, theta, *rest: table[int(theta)]
    )
    return table


class Checkpoints:
    """Remembers what it was asked for; a multiple of ``every_steps`` is due."""

    def __init__(self, every_steps):
        self.every_steps = every_steps
        self.saved = []

    def due(self, meta_step, last):
        return bool(self.every_steps) and meta_step % self.every_steps == 0

    def save(self, meta_step, state):
        self.saved.append((meta_step, int(state.steps)))

    def poll(self):
        pass


def run(meta_steps, per_dispatch, every_steps, *, done=0, save_every=0, bad_in_a_row=0):
    experiment = SimpleNamespace(
        trainer=Trainer(per_dispatch), validation=Judges((), ()), episodes=None
    )
    config = ConfigDict(
        {"meta_steps": meta_steps, "bad_steps": {"max_in_a_row": 3, "max_grad_norm": 1.0}}
    )
    validator = validation.Validator(experiment, None, every_steps, 1)
    validator.last_meta_step = done
    recorder = Recorder(bad_in_a_row)
    checkpoints = Checkpoints(save_every)
    start = State(jnp.int32(done), jnp.int32(done))
    state, taken = loop.train(
        experiment, start, done, config, recorder, validator, checkpoints, StopSignals()
    )
    assert taken == int(state.steps)
    return state, recorder.calls, validator, checkpoints.saved


def test_last_dispatch_is_shorter():
    state, calls, *_ = run(5, 2, 0)
    assert int(state.steps) == 5
    assert [call[1:] for call in calls if call[0] == "push"] == [(2, 2), (4, 2), (5, 1)]
    assert calls[-1] == ("flush",)


def test_validation_when_a_multiple_was_passed_and_at_the_end(losses):
    losses.update({4: 1.0, 6: 2.0, 9: 0.5})
    _, calls, validator, _ = run(9, 2, 3)
    # Multiples 3, 6 and 9 of every_steps lie in dispatches that end at 4, 6 and 9.
    assert [call[1] for call in calls if call[0] == "valid"] == [4, 6, 9]
    assert validator.best_meta_step == 9


def test_best_theta_is_kept_and_never_one_that_diverged(losses):
    losses.update({1: float("nan"), 2: 1.0, 3: 3.0, 4: 0.5, 5: 0.75})
    _, calls, validator, _ = run(5, 1, 1)
    assert [call[3] for call in calls if call[0] == "valid"] == [False, True, False, True, False]
    assert validator.best_loss == 0.5
    np.testing.assert_array_equal(validator.best_theta, 4)


def test_records_are_flushed_before_validation(losses):
    losses.update({1: 1.0, 2: 1.0})
    _, calls, *_ = run(2, 1, 1)
    assert [call[0] for call in calls] == ["push", "flush", "valid"] * 2 + ["flush"]


def test_checkpoints_hold_the_state_after_the_meta_step_they_are_named_by():
    *_, saved = run(6, 2, 0, save_every=2)
    assert saved == [(0, 0), (2, 2), (4, 4), (6, 6)]


def test_a_run_goes_on_from_where_it_was(losses):
    losses.update({6: 1.0, 8: 1.0})
    state, calls, *_ = run(8, 2, 3, done=4)
    assert int(state.steps) == 8
    assert [call[1] for call in calls if call[0] in ("push", "valid")] == [6, 6, 8, 8]


def test_a_validation_that_a_signal_prevented_is_made_up_for(losses):
    losses.update({4: 1.0, 5: 1.0})
    _, _, validator, _ = run(5, 1, 2, done=3)
    validator.last_meta_step = 1  # as after a stop at meta-step 3, before its validation
    assert validator.due(3, 5)


def test_a_row_of_bad_meta_steps_ends_the_run():
    with pytest.raises(errors.RunFailed, match="last 3 meta-steps before meta-step 0 changed"):
        run(5, 1, 0, bad_in_a_row=3)
    run(5, 1, 0, bad_in_a_row=2)
