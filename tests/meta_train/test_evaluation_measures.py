"""What is made of training curves, against values by hand and against SciPy."""

import numpy as np
import pytest
import scipy.stats
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from meta_train.evaluation import Curves, aggregate, measures

LOSSES = hnp.arrays(
    np.float32,
    st.tuples(st.integers(2, 4), st.integers(1, 60)),
    elements=st.floats(0, 100, width=32),
)
RATIOS = hnp.arrays(
    np.float64, st.tuples(st.integers(1, 6), st.integers(2, 5)), elements=st.floats(0.1, 10)
)


def ramp(*starts, steps=40):
    """Losses that fall by 1 per step to ``start``, one seed for each."""
    return np.asarray([start + np.arange(steps)[::-1] for start in starts], np.float32)


def measured(losses, name):
    """A measure of training losses, of runs that were not validated."""
    nothing = np.zeros((len(losses), 1), np.float32)
    curves = Curves(losses, nothing, nothing, np.asarray(0.0))
    return measures.MEASURES[name].of(measures.Training(curves))


def test_measures_by_hand():
    losses = ramp(1.0, 3.0)
    assert measured(losses, "mean_loss") == pytest.approx(2 + 39 / 2)
    assert measured(losses, "std_error") == pytest.approx(1.0)  # means 20.5 and 22.5
    assert measured(losses, "final_loss") == pytest.approx(2 + 1 / 2)  # the last two of forty steps
    assert measured(losses, "diverged") == 0


def test_smoothed_losses_are_means_of_the_last_twentieth():
    losses = np.random.default_rng(0).random((3, 60), np.float32)
    found = measures.smooth(losses)
    assert found.shape == (3, 58)
    np.testing.assert_allclose(found[:, 0], losses[:, :3].mean(axis=1), rtol=1e-6)
    np.testing.assert_allclose(found[:, -1], losses[:, -3:].mean(axis=1), rtol=1e-6)


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_a_loss_that_is_not_finite_counts_as_diverged(bad):
    losses = ramp(1.0, 1.0)
    losses[0, 7] = bad
    assert measured(losses, "mean_loss") == np.inf
    assert np.isnan(measured(losses, "std_error"))
    assert measured(losses, "diverged") == 0.5
    assert measures.mean_losses(losses)[1] == pytest.approx(20.5)


def test_ending_above_the_start_counts_as_diverged():
    rising = ramp(0.0)[:, ::-1]
    assert measures.has_diverged(np.concatenate([rising, ramp(0.0)])).tolist() == [True, False]


def test_steps_to_a_target():
    losses = ramp(0.0, 0.0)  # smoothed over two steps: 38.5 after 2 steps, 0.5 after 40
    assert measures.steps_to(losses, 38.5) == 2
    assert measures.steps_to(losses, 0.5) == 40
    assert measures.steps_to(losses, 0.4) is None
    losses[1, 39] = np.nan
    assert measures.steps_to(losses, 1.5) == 39
    assert measures.steps_to(losses, 0.5) is None


@settings(max_examples=40)
@given(LOSSES, st.floats(0, 100), st.floats(0, 100))
def test_a_lower_target_takes_no_fewer_steps(losses, one, other):
    high, low = max(one, other), min(one, other)
    easy, hard = measures.steps_to(losses, high), measures.steps_to(losses, low)
    if hard is not None:
        assert easy is not None
        assert measures.window(losses.shape[1]) <= easy <= hard <= losses.shape[1]


@settings(max_examples=40)
@given(LOSSES)
def test_the_final_loss_is_reached(losses):
    """As a target it is what the reference itself ends at, so its speed-up is at least defined."""
    final = measured(losses, "final_loss")
    assert measures.steps_to(losses, final + 1e-9) is not None


def test_points_hold_the_mean_since_the_point_before():
    losses = np.asarray([[1.0, 2.0, 3.0, 5.0, 7.0, 9.0]], np.float32)
    np.testing.assert_allclose(measures.at_points(losses, [2, 3, 6]), [[1.5, 3.0, 7.0]])


@settings(max_examples=40)
@given(hnp.arrays(np.float64, st.integers(1, 40), elements=st.floats(-1e3, 1e3)))
def test_iqm_is_scipys_trimmed_mean(values):
    expected = scipy.stats.trim_mean(values, 0.25)
    assert aggregate.iqm(values) == pytest.approx(expected, rel=1e-9, abs=1e-9)


def test_iqm_bears_a_quarter_of_diverged_runs_and_no_more():
    assert aggregate.iqm(np.asarray([1.0, 2.0, 3.0, np.inf])) == 2.5
    assert aggregate.iqm(np.asarray([1.0, 2.0, np.inf, np.inf])) == np.inf


def test_interval_of_one_task_is_scipys_bootstrap():
    values = np.random.default_rng(1).normal(1.0, 0.1, 40)
    expected = scipy.stats.bootstrap(
        (values,), lambda x, axis: aggregate.iqm(x), method="percentile", n_resamples=4000,
        rng=np.random.default_rng(2),
    ).confidence_interval  # fmt: skip
    found = aggregate.iqm_interval(values[None], num_samples=4000)
    np.testing.assert_allclose(found, (expected.low, expected.high), atol=0.005)


def test_interval_is_wider_where_tasks_differ():
    """Seeds alone vary by 0.01; only drawing tasks anew shows that tasks differ by 1."""
    noise = np.random.default_rng(0).normal(0, 0.01, (6, 5))
    low, high = aggregate.iqm_interval(1.0 + noise)
    assert high - low < 0.02
    low, high = aggregate.iqm_interval(np.linspace(0.5, 1.5, 6)[:, None] + noise)
    assert high - low > 0.3


@settings(max_examples=40)
@given(RATIOS)
def test_interval_lies_within_the_values(ratios):
    low, high = aggregate.iqm_interval(ratios, num_samples=50)
    assert ratios.min() - 1e-9 <= low <= high <= ratios.max() + 1e-9


def test_interval_with_diverged_runs_is_open_above():
    low, high = aggregate.iqm_interval(np.asarray([[1.0, np.inf, 1.0], [1.0, 1.0, np.inf]]))
    assert low == 1.0
    assert high == np.inf


def test_profile_by_hand():
    losses = {"a": np.asarray([1.0, 2.0, 3.0]), "b": np.asarray([2.0, 1.0, np.inf])}
    found = aggregate.profile(losses, np.asarray([1.0, 1.9, 2.0, 1e9]))
    np.testing.assert_allclose(found["a"], [2 / 3, 2 / 3, 1, 1])
    np.testing.assert_allclose(found["b"], [1 / 3, 1 / 3, 2 / 3, 2 / 3])


@settings(max_examples=40)
@given(
    hnp.arrays(
        np.float64,
        st.tuples(st.integers(1, 4), st.integers(1, 6)),
        elements=st.floats(1e-3, 1e3) | st.just(np.inf),
    )
)
def test_profile_rises_and_some_optimizer_is_best(table):
    taus = np.geomspace(1, 10, 20)
    names = {str(i): row for i, row in enumerate(table)}
    found = np.stack(list(aggregate.profile(names, taus).values()))
    assert (np.diff(found, axis=1) >= 0).all()
    assert ((found >= 0) & (found <= 1)).all()
    solved = np.isfinite(table).any(axis=0).mean()
    assert found[:, 0].sum() >= solved - 1e-12
