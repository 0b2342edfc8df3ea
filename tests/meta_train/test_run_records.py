import json
import math

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from meta_train import ToyRegression
from meta_train.run import Run, Validation, records
from meta_train.run.progress import ProgressLines
from tests.meta_train.test_run import ESTIMATOR, Counter

KEY = jax.random.key(0)
KEYS = ["meta_step", "meta_loss", "grad_norm", "snr", "diverged", "inner_steps_per_s", "seconds"]


class ListWriter:
    """Remembers scalars."""

    def __init__(self):
        self.scalars = []

    def write_scalars(self, step, scalars):
        self.scalars.append((step, dict(scalars)))

    def flush(self):
        pass

    def close(self):
        pass


def dispatch(losses, diverged=0):
    count = len(losses)
    return {
        "meta_loss": np.array(losses, np.float32),
        "grad_norm": np.ones(count, np.float32),
        "snr": np.full(count, np.nan, np.float32),
        "diverged": np.full(count, diverged, np.int32),
        "inner_steps": np.full(count, 40, np.int32),
    }


class Player(Counter):
    """A trainer that gives the records that stand in ``dispatches``, one after the other."""

    def step(self, state):
        return state, jax.tree.map(jnp.asarray, dispatches.pop(0))


dispatches = []


def make(tmp_path, *given, meta_steps=6, every_steps=1, hooks=()):
    dispatches[:] = given
    writer = ListWriter()
    recorder = records.Records(tmp_path, [lambda _: writer], every_steps)
    trainer = Player([ToyRegression()], ESTIMATOR, optax.sgd(1.0))
    run = Run(trainer, KEY, tmp_path, meta_steps=meta_steps, hooks=[recorder, *hooks])
    return run, writer


def lines(tmp_path):
    text = (tmp_path / "metrics.jsonl").read_text()
    return [json.loads(line) for line in text.splitlines()]


def test_one_dispatch_late(tmp_path):
    run, _ = make(tmp_path, dispatch([1.0, 0.9]), dispatch([0.8, 0.7]))
    run.step()
    assert not (tmp_path / "metrics.jsonl").exists()
    run.step()
    assert [line["meta_step"] for line in lines(tmp_path)] == [1, 2]
    run.flush()
    run.flush()
    run.close()
    assert [line["meta_step"] for line in lines(tmp_path)] == [1, 2, 3, 4]
    np.testing.assert_allclose(
        [line["meta_loss"] for line in lines(tmp_path)], [1.0, 0.9, 0.8, 0.7], rtol=1e-6
    )


def test_record_has_the_agreed_keys_and_is_json(tmp_path):
    run, writer = make(tmp_path, dispatch([math.inf]), meta_steps=1)
    run.train()
    run.close()
    (line,) = lines(tmp_path)
    assert sorted(line) == sorted(KEYS)
    assert line["meta_loss"] is None
    assert line["snr"] is None
    assert line["inner_steps_per_s"] > 0
    assert writer.scalars[0][0] == 1


def test_only_every_so_many_and_the_last(tmp_path):
    run, writer = make(tmp_path, *[dispatch([1.0])] * 7, meta_steps=7, every_steps=3)
    run.train()
    run.close()
    assert [line["meta_step"] for line in lines(tmp_path)] == [3, 6, 7]
    assert [step for step, _ in writer.scalars] == [3, 6, 7]


def test_validation_is_told_apart(tmp_path, capsys):
    run, writer = make(tmp_path, hooks=[Validation(lambda theta: 0.25, 5)], meta_steps=5)
    run.meta_step = 5
    run.train()
    run.close()
    (line,) = lines(tmp_path)
    assert line["meta_valid_loss"] == 0.25
    assert "meta_loss" not in line
    assert "meta_valid_loss" in writer.scalars[0][1]
    assert "0.2500" in capsys.readouterr().out


def test_diverged_particles_add_up_on_the_progress_line(tmp_path, capsys):
    given = dispatch([1.0], diverged=2), dispatch([1.0], diverged=3)
    run, _ = make(tmp_path, *given, meta_steps=2, hooks=[ProgressLines()])
    run.train()
    run.close()
    shown = capsys.readouterr().out
    assert "diverged 2 " in shown
    assert "diverged 5 " in shown


@pytest.mark.parametrize("damage", [b"", b"half a li", b'{"meta_step": 3}\n{}\n'])
def test_what_was_written_after_a_checkpoint_goes(tmp_path, damage):
    run, _ = make(tmp_path, dispatch([1.0]), dispatch([0.9]))
    run.step()
    run.step()
    run.save()
    run.close()
    with (tmp_path / "metrics.jsonl").open("ab") as file:
        file.write(damage)
    again, _ = make(tmp_path, dispatch([0.8]))
    assert again.restore()
    again.step()
    again.flush()
    again.close()
    assert [line["meta_step"] for line in lines(tmp_path)] == [1, 2, 3]
    new, _ = make(tmp_path, dispatch([0.8]))
    new.step()
    new.flush()
    new.close()
    assert [line["meta_step"] for line in lines(tmp_path)] == [1]
