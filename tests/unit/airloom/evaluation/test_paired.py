"""The statistics against scipy, where it has them, and against their definitions, where it has not."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import settings as effort
from hypothesis import strategies as st
from scipy import optimize, stats

from airloom.evaluation import paired
from airloom.evaluation.gate.alpha_spending import Tries
from airloom.evaluation.gate.simulate import exact_interval


@st.composite
def tables(draw):
    """better, worse, rows."""
    rows = draw(st.integers(1, 500))
    better = draw(st.integers(0, rows))
    return better, draw(st.integers(0, rows - better)), rows


@effort(max_examples=200, deadline=None)
@given(st.integers(0, 300), st.integers(0, 300))
def test_mcnemar_is_the_sign_test_of_scipy(better, worse):
    expected = stats.binomtest(better, better + worse, alternative="greater").pvalue if better + worse else 1.0
    assert paired.mcnemar(better, worse) == pytest.approx(expected, rel=1e-6)


@effort(max_examples=100, deadline=None)
@given(st.integers(0, 400), st.integers(1, 400))
def test_the_interval_of_a_share_is_that_of_scipy(successes, more):
    trials = successes + more
    expected = stats.binomtest(successes, trials).proportion_ci(0.95, "exact")
    assert exact_interval(successes, trials) == pytest.approx((expected.low, expected.high), abs=1e-9)


def restricted(better: int, worse: int, rows: int, difference: float) -> float:
    """The score statistic from its definition: the likelihood maximised numerically where the hypothesis holds."""

    def minus_log(share):  # of rows that got worse
        shares = [share + difference, share, 1 - 2 * share - difference]
        counts = [better, worse, rows - better - worse]
        return -sum(count * math.log(max(p, 1e-300)) for count, p in zip(counts, shares, strict=True) if count)

    low, high = max(0.0, -difference), (1 - difference) / 2
    share = optimize.minimize_scalar(minus_log, bounds=(low, high), method="bounded", options={"xatol": 1e-12}).x
    variance = (2 * share + difference - difference**2) / rows
    return ((better - worse) / rows - difference) / math.sqrt(variance)


@effort(max_examples=200, deadline=None)
@given(tables(), st.floats(-0.5, 0.5))
def test_the_score_statistic_is_that_of_the_restricted_likelihood(table, difference):
    if min(abs(difference), 0.01) < 1e-3 and sum(table[:2]) == 0:
        return  # no row differs and none should: there is no spread
    expected = restricted(*table, difference)
    assert paired.score_statistic(*table, difference) == pytest.approx(expected, rel=2e-3, abs=2e-3)


@effort(max_examples=200, deadline=None)
@given(tables(), st.sampled_from([0.001, 0.03, 0.05, 0.2]))
def test_score_bounds_hold_what_they_say(table, alpha):
    better, worse, rows = table
    found = paired.score(*table, alpha)
    mean = (better - worse) / rows
    assert -1 <= found.lower <= mean <= found.upper <= 1
    mirrored = paired.score(worse, better, rows, alpha)
    assert (-mirrored.upper, -mirrored.lower) == pytest.approx((found.lower, found.upper), abs=1e-9)
    if -0.999 < found.lower < mean - 1e-9:
        limit = stats.norm.ppf(1 - alpha)
        assert paired.score_statistic(*table, found.lower) == pytest.approx(limit, rel=1e-4)
    assert paired.score(*table, alpha / 2).lower <= found.lower + 1e-12


@pytest.mark.parametrize("kind", ["right answers", "few losses", "many losses"])
def test_the_bootstrap_is_that_of_scipy(kind):
    generator = np.random.default_rng(1)
    if kind == "right answers":
        gains = generator.choice([-1.0, 0.0, 1.0], 300, p=[0.05, 0.85, 0.1])
    else:
        gains = generator.exponential(size=200 if kind == "few losses" else 3000) - 0.8
    found = paired.bootstrap(gains, 0.05, 20_000, 0)
    other = stats.bootstrap(
        (gains,), np.mean, n_resamples=20_000, confidence_level=0.9, method="percentile", rng=2, batch=2000
    ).confidence_interval
    error = gains.std() / math.sqrt(len(gains))
    assert found.lower == pytest.approx(other.low, abs=0.06 * error + 1 / len(gains))
    assert found.upper == pytest.approx(other.high, abs=0.06 * error + 1 / len(gains))


def test_bootstrap_t_of_normal_gains_is_students_interval():
    gains = np.random.default_rng(3).normal(0.1, 1, 400)
    found = paired.studentised(gains, 0.05, 20_000, 0)
    low, high = stats.t.interval(0.9, len(gains) - 1, gains.mean(), stats.sem(gains))
    assert (found.lower, found.upper) == pytest.approx((low, high), abs=0.006)


def test_bootstrap_t_keeps_alpha_where_percentiles_do_not():
    """Gains with a long tail to the bad side; the true mean is 0. Percentiles promote twice as often as they say."""
    generator, wrong = np.random.default_rng(0), {"t": 0, "percentile": 0}
    for seed in range(400):
        gains = 1 - generator.exponential(size=60)
        wrong["t"] += paired.studentised(gains, 0.05, 400, seed).lower > 0
        wrong["percentile"] += paired.bootstrap(gains, 0.05, 400, seed).lower > 0
    assert wrong["t"] < wrong["percentile"]
    assert wrong["t"] <= 33  # 400 * 0.05 is 20; more than 33 come by chance once in 500


def test_gains_without_any_spread_have_bounds():
    for value in (0.0, 0.25):
        gains = np.full(100, value)
        assert paired.bootstrap(gains, 0.05, 200, 0).lower == pytest.approx(value)
        assert paired.studentised(gains, 0.05, 200, 0).lower == pytest.approx(value)


def test_endless_tries_spend_no_more_than_alpha():
    each = [Tries(k, k).alpha(0.05) for k in range(1, 20_000)]
    assert 0.0499 < math.fsum(each) < 0.05
    assert each == sorted(each, reverse=True)


def test_the_candidates_of_one_run_share_what_their_tries_may_spend():
    alone = math.fsum(Tries(k, k).alpha(0.05) for k in range(4, 9))
    assert 5 * Tries(4, 8).alpha(0.05) == pytest.approx(alone)
    assert str(Tries(4, 8)) == "tries 4 to 8"


def test_power_rises_with_effect_rows_and_margin():
    gains = np.random.default_rng(0).choice([-1.0, 0.0, 1.0], 400, p=[0.1, 0.8, 0.1])
    base = paired.power(gains, 0.0, 0.03, 0.05)
    assert base == pytest.approx(stats.norm.cdf(0.03 / math.sqrt((gains**2).mean() / 400) - stats.norm.ppf(0.95)))
    assert paired.power(gains, 0.01, 0.03, 0.05) > base
    assert paired.power(gains, 0.0, 0.03, 0.05, 4000) > base
    assert paired.power(gains, 0.0, 0.05, 0.05) > base
    assert paired.power(np.zeros(20), 0.0, 0.03, 0.05) < 0.2  # few rows that do not differ are no proof of power
