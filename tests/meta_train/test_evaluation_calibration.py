"""One setting for several tasks, where each task's own best is known."""

import jax
import numpy as np
import optax
import pytest

import tasks
from meta_train.evaluation import Programs, train
from meta_train.evaluation.baselines import LEARNING_RATE, Range
from meta_train.evaluation.calibration import HIGHEST, LOWEST, calibrate, log_losses, on_task
from meta_train.evaluation.tuning import Budget, tune

SPACE = {LEARNING_RATE: Range(1e-3, 10.0, 1e-2)}
BUDGET = Budget(num_grid=41, num_random=0)
"""Ten rates per decade."""


def descent(curvature, unit=1.0, steps=200):
    """Losses of gradient descent on ``unit * curvature * x ** 2 / 2`` from x = 1, scored."""

    def losses(trials):
        rates = np.asarray([trial[LEARNING_RATE] for trial in trials])[:, None]
        with np.errstate(over="ignore"):
            x = (1 - rates * curvature) ** np.arange(steps)
            return unit * curvature * x * x / 2

    return lambda trials: log_losses(losses(trials)), lambda trials: losses(trials).mean(axis=1)


def rate(tuned):
    return tuned.hyperparameters[LEARNING_RATE]


def test_the_setting_is_a_compromise():
    measures = [descent(curvature)[0] for curvature in (1.0, 1.9)]
    own = [rate(tune(SPACE, BUDGET, measure, seed=0)) for measure in measures]
    np.testing.assert_allclose(own, [1.0, 1 / 1.9], rtol=0.06)
    found = calibrate(SPACE, BUDGET, measures, seed=0)
    assert own[1] < rate(found) < own[0]
    scores = {trial.hyperparameters[LEARNING_RATE]: trial.score for trial in found.trials}
    assert scores[rate(found)] < min(scores[x] for x in own)


def test_units_of_losses_play_no_role():
    """Negative control: the mean of the losses themselves is that of the task in large units."""
    of_one = [descent(1.0), descent(1.9)]
    of_other = [descent(1.0, unit=1e6), descent(1.9)]
    found = [rate(calibrate(SPACE, BUDGET, [logs for logs, _ in x], 0)) for x in (of_one, of_other)]
    assert found[0] == found[1]
    means = [rate(calibrate(SPACE, BUDGET, [x for _, x in both], 0)) for both in (of_one, of_other)]
    assert means[0] != means[1]
    assert means[1] == pytest.approx(1.0)


def test_a_rate_that_diverges_on_one_task_is_not_taken_for_a_little_gain_on_another():
    slow, fast = descent(1.0)[0], descent(100.0)[0]
    assert rate(tune(SPACE, BUDGET, slow, seed=0)) == pytest.approx(1.0)
    assert rate(calibrate(SPACE, BUDGET, [slow, fast], seed=0)) < 2 / 100


def test_where_every_setting_diverges_somewhere_the_other_tasks_decide():
    first = np.asarray([1.0, np.nan, np.nan])
    measures = [lambda trials: log_losses(np.tile(first, (len(trials), 1))), descent(1.0)[0]]
    assert rate(calibrate(SPACE, BUDGET, measures, seed=0)) == pytest.approx(1.0)


def test_log_losses_are_in_units_of_the_first_and_bounded():
    curves = np.asarray([[2.0, 1.0, 0.0], [1.0, np.inf, 1.0], [1.0, 1e9, 1.0], [1.0, 1e-9, 0.0]])
    curves = np.concatenate([curves, curves * 1e3])
    expected = np.log([0.5, HIGHEST, HIGHEST, 1 / 3] * 2)
    np.testing.assert_allclose(log_losses(curves), expected)
    with pytest.raises(ValueError, match="must be above 0"):
        log_losses(-curves)
    long = np.zeros((1, 10**7), np.float32)
    long[0, 0] = 1.0
    np.testing.assert_allclose(log_losses(long), np.log(LOWEST))


def test_the_measure_of_a_task_is_that_of_its_training_runs():
    task, steps = tasks.make("quadratic", dim=2), 12
    keys = jax.random.split(jax.random.key(3), 2)
    programs = Programs(task, steps, span=steps, valid_batches=1)
    rates = (0.01, 0.1, 0.2)
    found = on_task(programs, lambda own: optax.sgd(own[LEARNING_RATE]), keys)(
        [{LEARNING_RATE: rate} for rate in rates]
    )
    curves = [[train(task, optax.sgd(rate), steps, key) for key in keys] for rate in rates]
    expected = [log_losses(np.asarray(of_rate)).mean() for of_rate in curves]
    np.testing.assert_allclose(found, expected, rtol=1e-5)
    assert np.ptp(expected) > 0.1
