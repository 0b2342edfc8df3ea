"""The loop of a run with a trainer that only counts, and whole runs from Python."""

import json
import math
from contextlib import closing

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from checkpoints import Saver, Store
from meta_train import PES, MetaState, MetaTrainer, ToyRegression
from meta_train.run import (
    BadSteps,
    Checkpointing,
    Hook,
    Profile,
    Run,
    RunFailed,
    RunState,
    Start,
    Validation,
    tally,
)
from meta_train.run.records import Records


def counted(number):
    """A state after so many meta-steps; theta is their number."""
    return MetaState(jnp.int32(number), jax.random.key(0), jnp.int32(number), (), ())


class Counter(MetaTrainer):
    """A trainer that counts its meta-steps."""

    def init(self, key, theta=None):
        return counted(0)

    def abstract_state(self, theta=None):
        return jax.eval_shape(lambda: counted(0))

    def step(self, state):
        taken = state.meta_step + jnp.arange(1, self.steps_per_dispatch + 1)
        return counted(taken[-1]), {"meta_loss": taken}


ESTIMATOR = PES(10, 5, num_pairs=2, std=0.1)


class Calls(Hook):
    """Writes down the order of calls."""

    def __init__(self):
        self.calls = []

    def recorded(self, run, records):
        self.calls.append(("records", records[-1]["meta_step"], len(records)))

    def validated(self, run, loss, best):
        self.calls.append(("valid", run.meta_step, loss, best))


class SaveEvery(Hook):
    """Saves at every multiple of a number, 0 too."""

    def __init__(self, every_steps):
        self.every_steps = every_steps

    def between(self, run):
        if run.meta_step % self.every_steps == 0:
            run.start_saving()


def counting(folder, meta_steps, per_dispatch, *hooks, done=0):
    """A run of a ``Counter`` that resumes after ``done`` meta-steps, and its calls."""
    calls = Calls()
    run = Run(
        Counter([ToyRegression()], ESTIMATOR, optax.sgd(1.0), steps_per_dispatch=per_dispatch),
        jax.random.key(0), folder, meta_steps=meta_steps, hooks=[calls, *hooks],
    )  # fmt: skip
    if done:
        metadata = {
            "records": {"seconds": 0.0},
            "validation": {"best_loss": None, "best_meta_step": None, "last_meta_step": done},
        }
        state = counted(done)
        run.restore(Start(done, RunState(state, state.theta), metadata))
    return run, calls.calls


def trained(*arguments, **keywords):
    run, calls = counting(*arguments, **keywords)
    run.train()
    run.close()
    assert run.meta_step == int(run.state.meta_state.meta_step)
    return run, calls


def validation(losses, every_steps):
    """Gives theta = meta-step a loss of a table."""
    return Validation(lambda theta: losses[int(theta)], every_steps)


def test_last_dispatch_is_shorter(tmp_path):
    run, calls = trained(tmp_path, 5, 2)
    assert int(run.state.meta_state.meta_step) == 5
    with pytest.raises(ValueError, match="All 5 meta-steps are done"):
        run.step()
    assert calls == [("records", 2, 2), ("records", 4, 2), ("records", 5, 1)]


def test_records_come_one_dispatch_late(tmp_path):
    run, calls = counting(tmp_path, 9, 2)
    run.step()
    assert calls == []
    run.step()
    assert calls == [("records", 2, 2)]
    run.flush()
    run.flush()
    assert calls == [("records", 2, 2), ("records", 4, 2)]
    run.close()


def test_validation_when_a_multiple_was_passed_and_at_the_end(tmp_path):
    run, calls = trained(tmp_path, 9, 2, validation({4: 1.0, 6: 2.0, 9: 0.5}, 3))
    # Multiples 3, 6 and 9 of every_steps lie in dispatches that end at 4, 6 and 9.
    assert [call[1] for call in calls if call[0] == "valid"] == [4, 6, 9]
    assert run.validations.best_meta_step == 9


def test_best_theta_is_kept_and_never_one_that_diverged(tmp_path):
    losses = {1: math.nan, 2: 1.0, 3: 3.0, 4: 0.5, 5: 0.75}
    run, calls = trained(tmp_path, 5, 1, validation(losses, 1))
    assert [call[3] for call in calls if call[0] == "valid"] == [False, True, False, True, False]
    assert run.validations.best_loss == 0.5
    np.testing.assert_array_equal(run.best_theta, 4)
    np.testing.assert_array_equal(run.state.best_theta, 4)


def test_records_are_flushed_before_validation(tmp_path):
    _, calls = trained(tmp_path, 2, 1, validation({1: 1.0, 2: 1.0}, 1))
    assert [call[:2] for call in calls] == [
        ("records", 1), ("valid", 1), ("records", 2), ("valid", 2),
    ]  # fmt: skip


def test_checkpoints_hold_the_state_after_the_meta_step_they_are_named_by(tmp_path, monkeypatch):
    saved = []
    monkeypatch.setattr(
        Saver, "save",
        lambda self, number, tree, *_: saved.append((number, int(tree.meta_state.meta_step))),
    )  # fmt: skip
    trained(tmp_path, 6, 2, SaveEvery(2))
    assert saved == [(0, 0), (2, 2), (4, 4), (6, 6)]


def test_a_run_goes_on_from_where_it_was(tmp_path):
    run, calls = trained(tmp_path, 8, 2, validation({6: 1.0, 8: 1.0}, 3), done=4)
    assert int(run.state.meta_state.meta_step) == 8
    assert [call[:2] for call in calls] == [
        ("records", 6), ("valid", 6), ("records", 8), ("valid", 8),
    ]  # fmt: skip


def test_a_validation_that_a_signal_prevented_is_made_up_for(tmp_path):
    hook = validation({4: 1.0, 5: 1.0}, 2)
    run, _ = counting(tmp_path, 5, 1, hook, done=3)
    run.validations.last_meta_step = 1  # as after a stop at meta-step 3, before its validation
    assert hook.due(run)
    run.close()


def test_a_row_of_bad_meta_steps_ends_the_run(tmp_path):
    run, calls = counting(tmp_path, 5, 1, BadSteps(3))
    run.tally.bad_in_a_row = 3
    with pytest.raises(RunFailed, match="last 3 meta-steps before meta-step 0 changed"):
        run.train()
    run.tally.bad_in_a_row = 2
    run.train()
    run.close()
    assert calls[-1] == ("records", 5, 1)


def test_a_request_to_stop_comes_before_everything_else(tmp_path):
    asked = iter([False, False, True])
    run, calls = counting(tmp_path, 5, 1, validation({1: 1.0, 2: 1.0}, 1))
    run.train(lambda: next(asked))
    assert [call[:2] for call in calls] == [("records", 1), ("valid", 1), ("records", 2)]
    assert run.unsaved
    run.close()


@pytest.mark.parametrize("late", [False, True])
def test_the_rate_of_the_last_dispatch_is_that_of_the_others(late, monkeypatch):
    """Whether a dispatch is computed at once, as on a CPU, or when its numbers are asked for."""
    now = [0.0]
    monkeypatch.setattr("meta_train.run.tally.time.monotonic", lambda: now[0])

    class Numbers(list):
        def __array__(self, dtype=None, copy=None):
            now[0] += late
            return np.ones(1)

    counts, records = tally.Tally(), []
    for window in (5, 2, 1):  # each ends where a checkpoint waits for everything
        now[0] += 100.0  # the checkpoint itself
        for _ in range(window):
            counts.start()
            now[0] += not late
            dispatch = {"meta_loss": Numbers([0]), "inner_steps": np.full(1, 40)}
            records += counts.push(len(records) + 1, dispatch)
        records += counts.flush()
        rates = [record["inner_steps_per_s"] for record in records]
        np.testing.assert_allclose(rates[-1], 40.0)
        assert max(rates) <= 40.0
    assert counts.seconds_for(10) == pytest.approx(10.0, rel=0.2)


def toy(folder, meta_steps, *hooks):
    trainer = MetaTrainer([ToyRegression()], ESTIMATOR, optax.adam(1e-2))
    return Run(trainer, jax.random.key(0), folder, meta_steps=meta_steps, hooks=hooks)


def test_a_run_from_python_goes_on_exactly(tmp_path):
    """In a loop of its own, where the run is closed between two meta-steps."""
    with closing(toy(tmp_path / "whole", 6)) as whole:
        whole.train()
    for stop in (3, 6):
        with closing(toy(tmp_path / "parts", 6, Records(str(tmp_path / "parts")))) as run:
            assert run.restore() == (stop == 6)
            while run.meta_step < stop:
                run.step()
            assert run.unsaved
            run.save()
            assert not run.unsaved
    for found, expected in zip(
        jax.tree.leaves(run.state), jax.tree.leaves(whole.state), strict=True
    ):
        if jnp.issubdtype(found.dtype, jax.dtypes.prng_key):
            found, expected = jax.random.key_data(found), jax.random.key_data(expected)
        np.testing.assert_array_equal(found, expected)
    lines = (tmp_path / "parts" / "metrics.jsonl").read_text().splitlines()
    assert [json.loads(line)["meta_step"] for line in lines] == [1, 2, 3, 4, 5, 6]
    assert run.tally.inner_steps == 6 * 5 * 4


def test_checkpoints_that_are_due_and_the_best(tmp_path):
    hooks = (validation_of_toy := Validation(lambda theta: 1.0, 4), Checkpointing(3))
    with closing(toy(tmp_path, 7, *hooks)) as run:
        run.train()
    assert validation_of_toy.due(run) is False
    store = Store(tmp_path / "checkpoints")
    # 4 is the best, though not a multiple of 3; of 3, 6 and 7 the two newest are kept.
    assert store.numbers() == [4, 6, 7]
    assert store.read(7).score == store.read(4).score == 1.0
    assert store.read(6).score is None


def test_damaged_checkpoints_are_told_and_passed_over(tmp_path, capsys):
    with closing(toy(tmp_path, 4, Checkpointing(2))) as run:
        run.train()
    manifests = [tmp_path / "checkpoints" / name / "manifest.json" for name in ("4", "2")]
    manifests[0].write_text("{}")
    with closing(toy(tmp_path, 4)) as run:
        assert run.restore()
        assert run.meta_step == 2
    assert "checkpoints/4 is damaged: manifest.json" in capsys.readouterr().out
    manifests[1].write_text("{}")
    with closing(toy(tmp_path, 4)) as run, pytest.raises(RunFailed, match="all checkpoints in"):
        run.restore()


@pytest.mark.parametrize(
    ("window", "done", "traced"), [((3, 4), 0, [(2, 4)]), ((4, 7), 4, [(4, 8)]), ((3, 4), 4, [])]
)
def test_dispatches_of_a_window_are_traced_whole(window, done, traced, tmp_path, monkeypatch):
    calls = []
    monkeypatch.setattr(jax.profiler, "start_trace", lambda folder: calls.append(run.meta_step))
    monkeypatch.setattr(jax.profiler, "stop_trace", lambda: calls.append(run.meta_step))
    run, _ = counting(tmp_path, 8, 2, Profile(tmp_path / "profile", *window), done=done)
    run.train()
    run.close()
    assert list(zip(calls[::2], calls[1::2], strict=True)) == traced
