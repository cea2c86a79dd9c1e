import numpy as np
import pytest
from hypothesis import given
from hypothesis import settings as effort
from hypothesis import strategies as st

from airloom.evaluation.gate import compare, decide
from airloom.pipeline.spec import AgainstChampion, GateSection

RULE = AgainstChampion(non_inferior_by=0.03, resamples=500)
POLICY = GateSection(at_least={"accuracy": 0.5}, against_champion=RULE)
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


def test_the_first_model_needs_only_the_minimum():
    outcome = decide(POLICY, GOOD, ROWS, None)
    assert outcome.passed
    assert outcome.comparison is None


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
