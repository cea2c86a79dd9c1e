"""What counts as the same answer of two programs of one model."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from airloom.agreement import disagreement, first_disagreement, of_golden
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


def task(name, **more):
    return Processing(task=name, **more)


@pytest.mark.parametrize(
    ("name", "shape", "axis", "says"),
    [
        ("segmentation", (2, 3, 4, 5), 1, "row 1, pixel 2, 3 is class 'disc' instead of 'square'"),
        ("tokens", (2, 6, 3), 2, "row 1, token 4 is class 'disc' instead of 'square'"),
        ("language_model", (2, 6, 3), 2, "row 1, token 4 is class 'disc' instead of 'square'"),
    ],
)
def test_the_class_of_each_pixel_and_token_stays(name, shape, axis, says):
    named = task(name, classes=["none", "disc", "square"])
    before = np.zeros(shape, np.float32)
    np.moveaxis(before, axis, -1)[..., 2] = 1
    cell = (1, 2, 3) if axis == 1 else (1, 4)
    close = before.copy()
    np.moveaxis(close, axis, -1)[cell] = [0, 1 - 1e-3, 1]
    turned = close.copy()
    np.moveaxis(turned, axis, -1)[cell] = [0, 1, 1 - 1e-3]
    assert disagreement(close, close, named) is None
    problem = disagreement(close, turned, named, rtol=0.1)
    assert problem is not None
    assert says in problem.message
    assert "no tolerance is wide enough" in problem.hint
    tie, other = close.copy(), close.copy()
    np.moveaxis(tie, axis, -1)[cell] = [0, 1, 1 - 1e-6]  # closer than float32 can tell
    np.moveaxis(other, axis, -1)[cell] = [0, 1 - 1e-6, 1]
    assert disagreement(tie, other, named) is None
    assert disagreement(close, turned, task("custom"), rtol=0.1) is None  # whose channels are no classes


def test_a_label_of_several_is_given_by_both_or_by_none():
    labels = task("multilabel", classes=["red", "round"])
    before, now = np.array([[0.001, -3.0]], np.float32), np.array([[-0.001, -3.0]], np.float32)
    assert "row 0 has no longer the label 'red'" in disagreement(before, now, labels, rtol=0.1).message
    assert "row 0 has now the label 'red'" in disagreement(now, before, labels, rtol=0.1).message
    assert disagreement(before, now, task("multilabel", threshold=0.9), rtol=0.1) is None  # neither gives it
    assert disagreement(np.array([[1e-6, -3.0]]), np.array([[-1e-6, -3.0]]), labels) is None
    assert disagreement(before, before[:, ::-1], labels, rtol=0.1) is not None


def test_a_number_is_held_to_the_size_of_its_own_column():
    before = np.array([[512_345.6, 0.5], [498_001.2, 0.25]], np.float32)
    now = before + np.array([[0, 0.01], [0, 0]], np.float32)
    assert disagreement(before, now, task("regression")) is not None
    assert disagreement(before, np.nextafter(before, np.float32(1e9)), task("regression")) is None


def test_a_vector_is_held_to_its_own_length():
    before = np.array([[300.0, 400.0], [0.3, 0.4]], np.float32)
    now = before + np.array([[0, 0], [0.01, 0]], np.float32)
    assert "row 1" in disagreement(before, now, task("embedding")).message
    assert disagreement(before, before * np.float32(1 + 1e-6), task("embedding")) is None


def test_a_task_decides_by_the_first_of_several_outputs():
    scores, boxes = np.array([[0.0, 1.0]], np.float32), np.array([[3.0, 3.001]], np.float32)
    swapped = boxes[:, ::-1]
    expected = {"scores": scores, "boxes": boxes}
    assert first_disagreement(expected, {"scores": scores, "boxes": swapped}, task("classification"), 0.1) is None
    problem = first_disagreement(expected, {"scores": scores[:, ::-1], "boxes": boxes}, task("classification"), 0.1)
    assert "output 'scores', row 0 is class" in problem.message


@given(
    arrays.arrays(np.float32, (2, 3, 2, 2), elements=st.floats(-100, 100, width=32)),
    st.sampled_from(["segmentation", "regression", "custom"]),
)
@settings(deadline=None)
def test_what_is_the_same_never_differs(answers, name):
    assert disagreement(answers, answers.copy(), task(name)) is None
