import math
import re

import numpy as np
import pytest

from meta_train.evaluation import verdict
from meta_train.evaluation.sentences import ABSENT, form
from meta_train.evaluation.verdict import Loss
from meta_train.figures import evaluation_figures, panels


def duel(mean, best, error=0.001):
    baselines = [Loss("adam", best, error), Loss("lion", best + 1, error)]
    return verdict.duel("digits", Loss("learned", mean, error), baselines)


@pytest.mark.parametrize(
    ("mean", "best", "error", "outcome"),
    [
        (1.0, 2.0, 0.0, verdict.LOWER),
        (2.0, 1.0, 0.0, verdict.HIGHER),
        (1.0, 1.0, 0.0, verdict.UNCLEAR),
        (1.0, 1.2, 0.1, verdict.UNCLEAR),
        (1.0, 1.3, 0.1, verdict.LOWER),
        (1.3, 1.0, 0.1, verdict.HIGHER),
        (1.0, 1.3, math.nan, verdict.UNCLEAR),
        (1.0, 1.3, math.inf, verdict.UNCLEAR),
        (math.nan, 1.0, 0.0, verdict.HIGHER),
        (math.inf, 1.0, 0.0, verdict.HIGHER),
        (1.0, math.nan, 0.0, verdict.LOWER),
        (math.nan, math.nan, 0.0, verdict.UNKNOWN),
        (-1.0, -2.0, 0.0, verdict.HIGHER),
    ],
)
def test_outcome(mean, best, error, outcome):
    assert duel(mean, best, error).outcome == outcome


def test_the_best_baseline_is_the_rival():
    assert duel(1.0, 2.0).best.optimizer == "adam"


def test_without_baselines_nothing_is_won():
    assert verdict.duel("digits", Loss("learned", 1.0, 0.0), []).outcome == verdict.UNKNOWN


@pytest.mark.parametrize(
    ("mean", "best", "words"),
    [
        (0.5, 1.0, "0.5, 50.0 % below the 1 of adam"),
        (1.1, 1.0, "1.1, 10.0 % above the 1 of adam"),
        (1.001, 1.0, "1.001, no clear difference from the 1 of adam"),
        (3.0, 1.0, "3, 3 times the 1 of adam"),
        (3.0, 0.0, "3, above the 0 of adam"),
        (math.nan, 1.0, "diverged, against the 1 of adam"),
        (1.0, math.nan, "1; no baseline has a finite loss"),
    ],
)
def test_words(mean, best, words):
    found = duel(mean, best)
    assert str(found) == f"digits: learned {words}"
    assert verdict.listed([found], found.outcome) == f"digits ({words})"


def test_defeats_are_listed_worst_first():
    duels = [duel(1.5, 1.0), duel(0.5, 1.0), duel(math.nan, 1.0), duel(4.0, 1.0)]
    found = verdict.listed(duels, verdict.HIGHER)
    assert re.findall(r"\((\w+|[\d.]+),", found) == ["diverged", "4", "1.5"]
    assert "on 1 of 4 tasks, a higher one on 3" in verdict.tally(duels)


def test_interval_is_that_of_student():
    values = np.asarray([[1.0, 2.0], [3.0, 2.0], [5.0, math.nan]])
    mean, low, high = evaluation_figures.interval(values)
    np.testing.assert_allclose((mean[0], high[0]), (3.0, 3.0 + 4.302653 * 2 / math.sqrt(3)))
    np.testing.assert_allclose(low[0], 6.0 - high[0])
    assert np.isnan([mean[1], low[1], high[1]]).all()


def test_interval_in_the_logarithm_is_a_factor_and_above_zero():
    values = np.asarray([[0.1, 100.0], [1.0, 101.0], [10.0, 102.0]])
    mean, low, high = evaluation_figures.interval(values, in_logarithm=True)
    np.testing.assert_allclose(low * high, mean**2)
    assert (low > 0).all()
    plain = evaluation_figures.interval(values)
    assert plain[1][0] < 0
    np.testing.assert_allclose((low[1], high[1]), (plain[1][1], plain[2][1]), rtol=1e-3)
    negative = evaluation_figures.interval(values - 5.0, in_logarithm=True)
    np.testing.assert_allclose(negative[1], plain[1] - 5.0)


def test_blocks_hold_every_finite_value():
    values = np.arange(1001.0)
    values[[0, 500]] = math.nan
    found = panels.blocks(np.arange(1001), values)
    assert len(found.mean) <= panels.MOST_BLOCKS
    assert (found.low[0], found.high[-1]) == (1.0, 1000.0)
    assert (~found.finite).sum() == 2
    np.testing.assert_allclose(found.mean[1:30], found.steps[1:30])
    assert len(panels.blocks(np.arange(0), np.zeros(0)).mean) == 0


@pytest.mark.parametrize(
    ("value", "text"),
    [(0, "0"), (1000, "1,000"), (0.05, "0.05"), (-3, "−3"), (1e-6, "1e−6"), (2.5e7, "2.5e7")],
)
def test_numbers_of_axes(value, text):
    assert panels.plain(value) == text


@pytest.mark.parametrize("value", [None, math.nan, math.inf, "x", True])
def test_what_is_no_number_is_a_dash(value):
    assert {form(value), form(value, ".1%")} == {ABSENT}
