import dataclasses
from types import SimpleNamespace
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
import pytest
from ml_collections import ConfigDict

from launch import loop, validation


class State(NamedTuple):
    theta: object
    steps: object


@dataclasses.dataclass(frozen=True)
class Trainer:
    """Counts: theta is the number of meta-steps taken."""

    steps_per_dispatch: int = 1
    shares: tuple = (1.0,)

    def step(self, state):
        taken = state.steps + jnp.arange(1, self.steps_per_dispatch + 1)
        return State(taken[-1], taken[-1]), {"meta_loss": taken}


class Recorder:
    """Writes down the order of calls."""

    def __init__(self):
        self.calls = []

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
        validation.evaluation, "meta_validate", lambda s, w, h, theta, k, n: table[int(theta)]
    )
    return table


def run(meta_steps, per_dispatch, every_steps):
    experiment = SimpleNamespace(trainer=Trainer(per_dispatch), systems=(), episodes=None)
    config = ConfigDict({"meta_steps": meta_steps, "steps_per_dispatch": per_dispatch})
    validator = validation.Validator(experiment, None, every_steps, 1)
    recorder = Recorder()
    start = State(jnp.zeros((), jnp.int32), jnp.zeros((), jnp.int32))
    state = loop.train(experiment, start, config, recorder, validator)
    return state, recorder.calls, validator


def test_last_dispatch_is_shorter():
    state, calls, _ = run(5, 2, 0)
    assert int(state.steps) == 5
    assert [call[1:] for call in calls if call[0] == "push"] == [(2, 2), (4, 2), (5, 1)]
    assert calls[-1] == ("flush",)


def test_validation_when_a_multiple_was_passed_and_at_the_end(losses):
    losses.update({4: 1.0, 6: 2.0, 9: 0.5})
    _, calls, validator = run(9, 2, 3)
    # Multiples 3, 6 and 9 of every_steps lie in dispatches that end at 4, 6 and 9.
    assert [call[1] for call in calls if call[0] == "valid"] == [4, 6, 9]
    assert validator.best_meta_step == 9


def test_best_theta_is_kept_and_never_one_that_diverged(losses):
    losses.update({1: float("nan"), 2: 1.0, 3: 3.0, 4: 0.5, 5: 0.75})
    _, calls, validator = run(5, 1, 1)
    assert [call[3] for call in calls if call[0] == "valid"] == [False, True, False, True, False]
    assert validator.best_loss == 0.5
    np.testing.assert_array_equal(validator.best_theta, 4)


def test_records_are_flushed_before_validation(losses):
    losses.update({1: 1.0, 2: 1.0})
    _, calls, _ = run(2, 1, 1)
    assert [call[0] for call in calls] == ["push", "flush", "valid"] * 2 + ["flush"]
