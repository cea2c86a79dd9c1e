"""Accuracy by scores alone: right without concept drift, at its stated rate, and caught where it is wrong."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import beta as beta_of
from scipy.stats import binomtest

from airloom.monitoring.confidence import Estimator, Expected, calibrate, judge


def answers(generator, rows, a=3.0, b=1.5):
    """Scores between 0.5 and 1 of a model that is too sure, and whether each answer is right."""
    true = 0.5 + generator.beta(a, b, rows) / 2
    return np.clip(true + 0.08, 0, 1), generator.random(rows) < true


@pytest.fixture(scope="module")
def estimator():
    scores, right = answers(np.random.default_rng(0), 20_000)
    return Estimator(calibrate(scores, right))


def test_a_model_that_is_too_sure_is_calibrated(estimator):
    scores, right = answers(np.random.default_rng(1), 20_000)
    expected = estimator.expected(scores)
    assert expected.value == pytest.approx(right.mean(), abs=0.015)
    assert scores.mean() > right.mean() + 0.05  # what the scores themselves say
    assert expected.low < expected.value < expected.high


def test_where_harder_rows_come_the_lower_accuracy_is_found_without_a_label(estimator):
    """A covariate shift alone: equal scores are right as often as before."""
    gaps = []
    for seed in range(20):
        scores, right = answers(np.random.default_rng(seed), 5000, a=1.5, b=3.0)
        expected = estimator.expected(scores)
        assert expected.drop > 0.05
        gaps.append(abs(expected.value - right.mean()))
    assert np.mean(gaps) <= 0.015


def test_the_interval_holds_what_is_measured_as_often_as_it_says():
    """Over test splits too, as the calibration is uncertain itself."""
    held = 0
    for seed in range(400):
        generator = np.random.default_rng(seed)
        expected = Estimator(calibrate(*answers(generator, 600)), seed).expected((fresh := answers(generator, 400))[0])
        held += expected.low <= fresh[1].mean() <= expected.high
    interval = binomtest(held, 400).proportion_ci(0.99)
    print(f"held {held} of 400, 99 % interval {interval.low:.3f} to {interval.high:.3f}")
    assert held / 400 >= 0.92
    assert held / 400 <= 0.99


def test_equal_accuracy_is_no_drop(estimator):
    drops = [estimator.expected(answers(np.random.default_rng(seed), 500)[0]).drop for seed in range(200)]
    assert sum(drop > 0.02 for drop in drops) == 0


def test_it_loses_the_right_where_intervals_miss_too_often():
    """Exactly: so many misses or more would come by chance in fewer than 1 of 20 cases."""
    hit, miss = (Expected(0.8, 0.75, 0.85, 0.0), 0.8), (Expected(0.8, 0.75, 0.85, 0.0), 0.7)
    assert judge([]).trusted
    assert judge([miss]).trusted
    assert judge([hit] * 19 + [miss]).trusted
    three = judge([hit] * 17 + [miss] * 3)
    assert three.chance == pytest.approx(beta_of.cdf(0.05, 3, 18))
    assert three.trusted
    assert not judge([hit] * 16 + [miss] * 4).trusted
    assert not judge([miss, miss]).trusted
    past = judge([hit, hit, miss, miss, miss])
    assert (past.windows, past.missed, past.trusted) == (5, 3, False)
    assert (past.error, past.bias) == (pytest.approx(0.06), pytest.approx(0.06))


@given(
    st.lists(st.tuples(st.floats(0, 1), st.booleans()), min_size=1, max_size=50), st.lists(st.floats(0, 1), min_size=1)
)
def test_any_scores_give_a_share(rows, window):
    scores, right = (np.array([row[side] for row in rows]) for side in (0, 1))
    expected = Estimator(calibrate(scores.astype(float), right.astype(bool))).expected(np.array(window))
    assert 0 <= expected.low <= expected.high <= 1
    assert 0 <= expected.value <= 1
