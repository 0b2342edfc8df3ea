"""The search for hyperparameters, where the best are known."""

import numpy as np
import pytest

from meta_train.evaluation import BASELINES
from meta_train.evaluation.baselines import LEARNING_RATE, Range
from meta_train.evaluation.tuning import Budget, tune

SPACE = {
    LEARNING_RATE: Range(1e-3, 1.0, 1e-2),
    "momentum": Range(0.01, 0.5, default=0.9, complement=True),
}
BUDGET = Budget(num_grid=10, num_random=10)


def heavy_ball(trials, curvature=10.0, steps=200):
    """Mean loss of gradient descent with momentum on ``curvature * x ** 2 / 2`` from x = 1."""
    rate, momentum = (np.asarray([t[name] for t in trials]) for name in SPACE)
    x, velocity, losses = np.ones(len(trials)), 0.0, []
    for _ in range(steps):
        losses.append(curvature * x * x / 2)
        velocity = momentum * velocity + curvature * x
        x = np.clip(x - rate * velocity, -1e100, 1e100)
    return np.mean(losses, axis=0)


def test_best_of_a_quadratic_is_found():
    tuned = tune(SPACE, BUDGET, heavy_ball, seed=0)
    everywhere = [
        {LEARNING_RATE: rate, "momentum": momentum}
        for rate in np.geomspace(1e-3, 1, 200)
        for momentum in np.linspace(0.5, 0.99, 20)
    ]
    best = heavy_ball(everywhere).min()
    score = min(trial.score for trial in tuned.trials)
    assert best <= score < 1.5 * best
    grid = min(trial.score for trial in tuned.trials[:10])
    assert score < grid  # random search of the momentum has added something
    assert not tuned.at_edge


def test_without_momentum_the_rate_is_one_over_the_curvature():
    space = {LEARNING_RATE: SPACE[LEARNING_RATE]}

    def descent(trials):
        return heavy_ball([{**trial, "momentum": 0.0} for trial in trials])

    tuned = tune(space, BUDGET, descent, seed=0)
    assert tuned.hyperparameters[LEARNING_RATE] == pytest.approx(0.1, rel=0.1)
    assert len(tuned.trials) == 20


def test_trials_are_the_same_for_the_same_seed_and_stay_in_range():
    first, again, other = (tune(SPACE, BUDGET, heavy_ball, seed=seed) for seed in (3, 3, 4))
    assert first == again
    assert first.trials[:10] == other.trials[:10]
    assert first.trials[10:] != other.trials[10:]
    rates = [trial.hyperparameters[LEARNING_RATE] for trial in first.trials]
    np.testing.assert_allclose(rates[:10], np.geomspace(1e-3, 1, 10))
    best = rates[int(np.argmin([trial.score for trial in first.trials[:10]]))]
    step = 1000 ** (1 / 9)
    for trial in first.trials[10:]:
        assert best / step <= trial.hyperparameters[LEARNING_RATE] <= best * step
        assert 0.5 <= trial.hyperparameters["momentum"] <= 0.99


def test_first_of_equals_wins_and_what_diverged_never_does():
    scores = np.asarray([np.nan, 2.0, np.inf, 2.0])
    tuned = tune(SPACE, Budget(4, 0), lambda trials: scores, seed=0)
    assert tuned.hyperparameters == tuned.trials[1].hyperparameters
    assert [trial.score for trial in tuned.trials] == [np.inf, 2.0, np.inf, 2.0]
    everything = tune(SPACE, Budget(4, 0), lambda trials: np.full(4, np.nan), seed=0)
    assert everything.hyperparameters == everything.trials[0].hyperparameters


def test_a_best_rate_at_the_edge_is_told():
    def faster_is_better(trials):
        return np.asarray([-trial[LEARNING_RATE] for trial in trials])

    assert tune(SPACE, Budget(5, 3), faster_is_better, seed=0).at_edge


def test_nothing_to_tune_takes_no_trial():
    tuned = tune({}, BUDGET, heavy_ball, seed=0)
    assert (tuned.hyperparameters, tuned.trials) == ({}, ())


@pytest.mark.parametrize("name", BASELINES)
def test_ranges_hold_their_defaults(name):
    for span in BASELINES[name].space.values():
        low, high = sorted((span.at(0.0), span.at(1.0)))
        assert low <= span.default <= high
        assert span.low < span.high


def test_given_arguments_are_not_tuned():
    adam = BASELINES["adam"]
    assert set(adam.fix({"b1": 0.8}).space) == {LEARNING_RATE, "b2"}
    fixed = adam.fix({LEARNING_RATE: 0.1, "nesterov": True})
    assert fixed.space == {}
    assert fixed.fixed == {"b1": 0.9, "b2": 0.999, LEARNING_RATE: 0.1, "nesterov": True}


def test_a_given_learning_rate_decays_where_it_is_to():
    cosine = BASELINES["adamw_cosine"].fix({LEARNING_RATE: 0.1})
    grads, params = {"w": np.ones(2, np.float32)}, {"w": np.zeros(2, np.float32)}
    optimizer = cosine.bind({}, 2)
    state = optimizer.init(params)
    first, state = optimizer.update(grads, state, params)
    second, _ = optimizer.update(grads, state, params)
    np.testing.assert_allclose(second["w"], first["w"] / 2, rtol=1e-3)
