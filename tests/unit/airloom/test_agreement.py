"""What counts as the same answer of two programs of one model."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from airloom.agreement import disagreement, of_golden
from airloom.golden import RTOL, Golden
from airloom.processing import Processing

scores = arrays.arrays(
    np.float32, st.tuples(st.integers(1, 7), st.integers(1, 6)), elements=st.floats(-1e6, 1e6, width=32)
)


def column(*values):
    return np.array(values, np.float32)[:, None]


def test_one_step_of_float32_of_a_price_is_no_difference():
    prices = column(512_345.6, 498_001.2)
    assert disagreement(prices, np.nextafter(prices, np.float32(1e9))) is None
    problem = disagreement(prices, prices * np.float32(1.001))
    assert problem is not None
    assert "row 0: 512857.9" in problem.message
    assert "1.0e-03 of the answers' size, and rtol is 1e-04" in problem.message
    assert "run.save_model(model, example, rtol=1e-02)" in problem.hint
    assert disagreement(prices, prices * np.float32(1.001), rtol=1e-2) is None


def test_small_answers_are_held_to_their_own_size():
    small = column(3e-5, 1e-5)
    problem = disagreement(small, small + np.float32(1e-5))
    assert problem is not None
    assert "do not compute the same" in problem.hint


def test_an_answer_near_zero_may_be_off_by_what_larger_numbers_leave():
    assert disagreement(column(1e-5), column(1.03e-5)) is None


def test_a_class_that_becomes_another_is_never_within_a_tolerance():
    before = np.array([[1.0, 1.001, 0.0], [2.0, 0.0, 1.0]], np.float32)
    now = before.copy()
    now[0, 0] = 1.002
    problem = disagreement(before, now, rtol=0.1)
    assert problem is not None
    assert "row 0 is class 0 instead of 1, whose score is 0.001 higher" in problem.message
    turned = before.copy()
    turned[1] = [2.0, 0.03, 0.02]
    assert "row 1 ranks class 1 before class 2" in disagreement(before, turned, rtol=0.1).message


def test_scores_that_float32_cannot_tell_apart_have_no_order():
    tie = np.array([[7.0, 7.0, -3.0]], np.float32)
    assert disagreement(tie, np.array([[7.0, 7.000001, -3.0]], np.float32)) is None


def test_a_masked_class_does_not_make_everything_equal():
    for mask in (-1e9, -np.inf):
        before = np.array([[1.0, 2.0, mask]], np.float32)
        assert disagreement(before, np.array([[1.0, 2.0, mask]], np.float32)) is None
        assert disagreement(before, np.array([[1.0, 2.1, mask]], np.float32)) is not None
        assert disagreement(before, np.array([[2.1, 2.0, mask]], np.float32)) is not None


def test_a_threshold_decides_too():
    half = Processing(threshold=0.5)
    before, now = column(0.001), column(-0.001)
    assert "class 0 instead of 1" in disagreement(before, now, half, rtol=0.1).message


@pytest.mark.parametrize(
    ("before", "now"),
    [(column(1), column(1, 2)), (column(1), column(np.nan)), (column(np.nan), column(1)), (column(1), column(np.inf))],
)
def test_what_is_no_answer_differs(before, now):
    assert disagreement(before, now) is not None


def test_whole_answers_are_equal_or_not():
    whole = np.array([[1_000_000], [3]])
    assert disagreement(whole, whole.astype(np.int32)) is None
    assert "1000001 instead of 1000000" in disagreement(whole, whole + 1).message


@settings(deadline=None)
@given(scores, st.floats(0, 1e-6))
def test_rounding_is_never_a_difference_and_a_hundredth_always_is(before, noise):
    assert disagreement(before, (before * (1 + noise)).astype(np.float32)) is None
    worse = before.copy()
    worse[0, 0] += np.float32(0.01 * max(np.abs(before).max(), 1))
    assert disagreement(before, worse) is not None


def test_golden_answers_have_their_own_tolerance_and_those_of_earlier_releases_the_former_one():
    def differs(recorded: float, rtol: float | None, actual: float) -> bool:
        return of_golden(Golden({}, {"y": column(recorded)}, rtol), {"y": column(actual)}) is not None

    assert not differs(100.0, 1e-2, 100.5)
    assert differs(100.0, RTOL, 100.5)
    assert not differs(1e-5, None, 9e-5)  # as earlier releases wrote it
    assert differs(1e-5, RTOL, 9e-5)
