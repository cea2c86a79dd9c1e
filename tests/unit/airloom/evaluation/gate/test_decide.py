import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import settings as effort
from hypothesis import strategies as st

from airloom.evaluation.gate.alpha_spending import Tries
from airloom.evaluation.gate.decide import SliceRows, compare, decide
from airloom.spec.gate import AgainstChampion, GateSection, SliceRule

RULE = AgainstChampion(non_inferior_by=0.03, resamples=500)
POLICY = GateSection(at_least={"accuracy": 0.5}, against_champion=RULE, first_model="minimums")
GOOD = {"accuracy": 0.9}
ROWS = np.ones(400, bool)


@st.composite
def pairs(draw, least=1, most=600):
    """Candidate and champion on the same rows."""
    rows = draw(st.integers(least, most))
    generator = np.random.default_rng(draw(st.integers(0, 2**32)))
    return tuple(generator.random(rows) < draw(st.floats(0, 1)) for _ in range(2))


@effort(max_examples=60, deadline=None)
@given(pairs(least=400, most=2000))
def test_a_candidate_that_is_nowhere_worse_passes(pair):
    champion = pair[1]
    candidate = champion | pair[0]
    outcome = decide(POLICY, GOOD, candidate, champion)
    assert outcome.passed, outcome.reasons
    assert outcome.comparison.worse == 0


@effort(max_examples=60, deadline=None)
@given(pairs())
def test_the_numbers_of_a_comparison_agree(pair):
    found = compare(*pair, RULE)
    low, high = found.interval
    assert 0 <= found.power <= 1
    assert -1 <= low == found.lower <= high <= 1
    assert found.effect == pytest.approx(pair[0].mean() - pair[1].mean())


@effort(max_examples=60, deadline=None)
@given(pairs(), st.data())
def test_a_row_turned_right_raises_the_effect_by_one_row(pair, data):
    candidate, champion = pair
    wrong = np.flatnonzero(~candidate)
    if not len(wrong):
        return
    mended = candidate.copy()
    mended[data.draw(st.sampled_from(wrong.tolist()))] = True
    gain = compare(mended, champion, RULE).effect - compare(candidate, champion, RULE).effect
    assert gain == pytest.approx(1 / len(champion))


@pytest.mark.parametrize(
    ("metrics", "candidate", "champion", "reason"),
    [
        ({}, ROWS, ROWS, "accuracy was not measured"),
        ({"accuracy": float("nan")}, ROWS, ROWS, "accuracy nan"),
        ({"accuracy": 0.4999}, ROWS, None, "at least 0.5"),
        (GOOD, ROWS, ROWS[1:], "do not pair"),
        (GOOD, ROWS[1:], ROWS, "do not pair"),
        (GOOD, ROWS[:0], ROWS, "no evidence"),
        (GOOD, ROWS[:0], ROWS[:0], "no evidence"),
        (GOOD, ROWS[:0], None, "no evidence"),
        (GOOD, ROWS, ROWS.astype(int), "do not pair"),
        ({"accuracy": float("inf")}, ROWS, ROWS, "accuracy inf"),
        (GOOD, ROWS[:20], ROWS[:20], "may be worse by 0.03"),
        (GOOD, ~ROWS, ROWS, "-1.0000"),
    ],
)
def test_without_evidence_nothing_passes(metrics, candidate, champion, reason):
    outcome = decide(POLICY, metrics, candidate, champion)
    assert not outcome.passed
    assert [text for text in outcome.reasons if text.startswith("REFUSED") and reason in text]


def test_the_first_model_needs_only_the_minimum_and_a_rule_that_says_so():
    outcome = decide(POLICY, GOOD, ROWS, None)
    assert outcome.passed
    assert outcome.comparison is None
    refused = decide(POLICY.model_copy(update={"first_model": "refuse"}), GOOD, ROWS, None)
    assert not refused.passed
    assert "no champion to compare with" in refused.reasons[-1]


@pytest.mark.parametrize("value", [None, 7.1, math.nan, math.inf])
def test_a_limit_that_is_exceeded_or_was_not_measured_refuses(value):
    policy = POLICY.model_copy(update={"at_most": {"latency_ms": 7}})
    measured = GOOD | ({} if value is None else {"latency_ms": value})
    assert not decide(policy, measured, ROWS, ROWS).passed
    assert decide(policy, GOOD | {"latency_ms": 7.0}, ROWS, ROWS).passed


def with_slice(**rule):
    return POLICY.model_copy(update={"slices": {"dark": SliceRule(**rule)}})


@pytest.mark.parametrize(
    ("slices", "reason"),
    [
        ({}, "slice dark is empty or was not evaluated"),
        ({"dark": SliceRows(~ROWS, {"accuracy": 1.0})}, "slice dark is empty"),
        ({"dark": SliceRows(ROWS, {})}, "accuracy was not measured"),
        ({"dark": SliceRows(ROWS, {"accuracy": 0.69})}, "at least 0.7"),
        ({"dark": SliceRows(ROWS.astype(int), {"accuracy": 1.0})}, "slice dark is empty"),
    ],
)
def test_a_slice_without_evidence_refuses(slices, reason):
    outcome = decide(with_slice(at_least={"accuracy": 0.7}), GOOD, ROWS, ROWS, slices=slices)
    assert not outcome.passed
    assert reason in outcome.reasons[-1]


def test_a_slice_that_got_worse_refuses_although_the_whole_did_not():
    dark = np.arange(8000) < 400
    candidate, champion = ~(dark & (np.arange(8000) % 4 == 0)), np.ones(8000, bool)
    parts = {"dark": SliceRows(dark, {"accuracy": 0.75})}
    outcome = decide(with_slice(non_inferior_by=0.1), GOOD, candidate, champion, slices=parts)
    assert [reason[:7] for reason in outcome.reasons] == ["passed:", "passed:", "REFUSED"]
    assert outcome.slices["dark"].effect == -0.25


def test_superior_means_better_and_not_as_good():
    policy = GateSection(at_least={"accuracy": 0.5}, against_champion=AgainstChampion(superior=True))
    champion = np.arange(1000) < 900
    assert not decide(policy, GOOD, champion, champion).passed
    assert decide(policy, GOOD, np.arange(1000) < 940, champion).passed


@pytest.mark.parametrize(
    "rule",
    [
        {},
        {"superior": True, "non_inferior_by": 0.1},
        {"non_inferior_by": 0.02, "method": "mcnemar"},
        {"superior": True, "metric": "log_loss", "method": "mcnemar"},
        {"superior": True, "metric": "mae", "method": "score"},
        {"non_inferior_by": 0.0},
        {"superior": True, "alpha": 0.5},
    ],
)
def test_a_senseless_rule_is_no_rule(rule):
    with pytest.raises(ValueError):
        AgainstChampion(**rule)


def test_a_loss_is_compared_too_and_less_is_better():
    policy = GateSection(at_least={"r2": 0}, against_champion=AgainstChampion(superior=True, metric="mse"))
    error = np.random.default_rng(0).exponential(size=500)
    assert decide(policy, {"r2": 1.0}, -0.8 * error, -error).passed
    assert not decide(policy, {"r2": 1.0}, -error, -0.8 * error).passed
    assert not decide(policy, {"r2": 1.0}, -0.8 * error[:20], -error[:20]).passed  # too few rows
    assert not decide(policy, {"r2": 1.0}, -0.8 * error, np.where(error > 2, np.nan, -error)).passed


def test_tries_are_spent():
    champion = np.arange(1000) < 900
    candidate = np.arange(1000) < 907
    policy = GateSection(at_least={"accuracy": 0.5}, against_champion=AgainstChampion(superior=True, resamples=500))
    outcomes = [decide(policy, GOOD, candidate, champion, tries=Tries(k, k)) for k in (1, 2, 20)]
    assert [outcome.passed for outcome in outcomes] == [True, True, False]
    assert "try 20 at alpha 0.05" in outcomes[-1].reasons[-1]


@pytest.mark.parametrize("better", [0.0, 0.1])
def test_a_candidate_worse_by_the_whole_margin_passes_hardly_more_often_than_alpha(better):
    """`better`: the share of rows that only the candidate has right; the champion has 0.03 more of its own."""
    passed = 0
    for seed in range(300):
        kind = np.random.default_rng(seed).random(400)
        candidate, champion = kind < better, (kind >= better) & (kind < 2 * better + 0.03)
        rest = kind >= 2 * better + 0.03
        passed += decide(POLICY, GOOD, candidate | rest, champion | rest, seed).passed
    assert passed / 300 <= 0.09


def test_the_same_seed_gives_the_same_bound():
    generator = np.random.default_rng(0)
    candidate, champion = generator.random((2, 400)) < 0.8
    assert compare(candidate, champion, RULE, 1) == compare(candidate, champion, RULE, 1)
    assert compare(candidate, champion, RULE, 1) != compare(candidate, champion, RULE, 2)
