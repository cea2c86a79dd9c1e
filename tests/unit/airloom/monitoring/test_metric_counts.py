"""Counts add up exactly, in any order, and come apart again."""

from copy import deepcopy

from hypothesis import given
from hypothesis import settings as examples
from served.metric_counts import COUNTS

from airloom.monitoring.metric_counts import DAY, HOUR, add, of_span, packed, unpacked


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
