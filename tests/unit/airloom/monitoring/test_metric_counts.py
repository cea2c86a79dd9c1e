"""Counts add up exactly, in any order, and come apart again."""

from copy import deepcopy

from hypothesis import given
from hypothesis import settings as examples
from hypothesis import strategies as st

from airloom.monitoring.metric_counts import DAY, ERRORS, HOUR, Cell, Place, add, of_span, packed, unpacked

NUMBER = st.integers(1, 2**40)
BINS = st.dictionaries(st.integers(-32_000, 32_767), NUMBER, max_size=4)
CELL = st.builds(
    Cell,
    requests=NUMBER,
    predictions=NUMBER,
    errors=st.dictionaries(st.sampled_from(ERRORS), NUMBER, max_size=2),
    latency=BINS,
    scores=BINS,
    numbers=BINS,
    answers=st.dictionaries(st.sampled_from(["cat", "Hündin", "7", ""]), NUMBER, max_size=3),
)
PLACE = st.builds(
    Place,
    model=st.sampled_from(["digits", "boats"]),
    version=st.sampled_from(["1", "2"]),
    role=st.sampled_from(["champion", "shadow"]),
    start=st.integers(0, 3000).map(lambda minute: minute * 60),
)
COUNTS = st.dictionaries(PLACE, CELL, max_size=4)


def total(*parts):
    counts = {}
    for part in parts:
        add(counts, deepcopy(part))
    return counts


@given(COUNTS, COUNTS, COUNTS)
@examples(deadline=None)
def test_the_order_and_the_grouping_do_not_matter(first, second, third):
    assert total(total(first, second), third) == total(first, total(second, third)) == total(third, second, first)


@given(COUNTS, COUNTS)
@examples(deadline=None)
def test_what_was_added_can_be_taken_away(first, second):
    assert add(total(first, second), second, -1) == first


@given(COUNTS, COUNTS)
@examples(deadline=None)
def test_hours_and_days_are_the_sums_of_their_minutes(first, second):
    for span in (HOUR, DAY):
        assert of_span(total(first, second), span) == total(of_span(first, span), of_span(second, span))
    assert of_span(of_span(first, HOUR), DAY) == of_span(first, DAY)


@given(COUNTS)
@examples(deadline=None)
def test_the_ledger_keeps_them_as_they_are(counts):
    assert unpacked(packed(counts)) == counts
