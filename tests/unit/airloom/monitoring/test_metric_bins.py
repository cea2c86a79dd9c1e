"""Bins: as wide as they say, in the order of their values, and quantiles of several histograms at once."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import settings as examples
from hypothesis import strategies as st

from airloom.monitoring import metric_bins as bins

LATENCY = st.floats(0.01, 1e6)


@given(st.lists(LATENCY, min_size=1, max_size=50), st.sampled_from([0.0, 0.5, 0.95, 0.99, 1.0]))
@examples(deadline=None)
def test_a_quantile_is_right_to_the_width_of_its_bin(values, share):
    places, counts = np.unique(bins.latency_bins(np.array(values)), return_counts=True)
    found = bins.quantiles(np.zeros(len(places), np.int64), places, counts, (share,), 1)
    wanted = sorted(values)[max(math.ceil(share * len(values)), 1) - 1]
    assert bins.quantiles_of(dict(zip(places.tolist(), counts.tolist(), strict=True)), (share,)) == found[0].tolist()
    assert bins.latency_of(found)[0, 0] == pytest.approx(wanted, rel=0.0222)


@given(st.lists(st.floats(allow_nan=False), min_size=2, max_size=20))
@examples(deadline=None)
def test_a_larger_number_has_no_smaller_bin(values):
    places = bins.number_bins(np.array(sorted(values)))
    assert np.all(np.diff(places) >= 0)
    assert np.all(np.abs(places) <= 32_000)


@given(st.floats(1e-100, 1e100), st.sampled_from([1.0, -1.0]))
@examples(deadline=None)
def test_a_number_comes_back_to_a_hundredth(size, sign):
    place = bins.number_bins(np.array([sign * size]))
    assert bins.number_of(place)[0] == pytest.approx(sign * size, rel=0.0111)


def test_what_is_no_number_is_counted_apart_and_moves_no_quantile():
    nan, inf = float("nan"), float("inf")
    assert bins.latency_bins(np.array([nan, -1.0, inf])).tolist() == [bins.NO_NUMBER] * 3
    assert bins.score_bins(np.array([nan, -0.1, 1.1])).tolist() == [bins.NO_NUMBER] * 3
    assert bins.number_bins(np.array([nan, inf, -inf, 0.0])).tolist() == [bins.NO_NUMBER, 32_000, -32_000, 0]
    assert bins.score_bins(np.array([0.0, 0.995, 1.0, 1.0000001, -1e-9])).tolist() == [0, 99, 99, 99, 0]
    places = np.array([5, bins.NO_NUMBER])
    assert bins.quantiles(np.zeros(2, np.int64), places, np.array([1, 99]), (0.99,), 1).tolist() == [[5]]


def test_an_empty_histogram_between_others_has_no_quantile():
    groups, places, counts = np.array([2, 0, 2, 0]), np.array([9, 3, 7, 3]), np.array([1, 2, 99, 2])
    found = bins.quantiles(groups, places, counts, (0.5, 0.99, 1.0), 4)
    assert found.tolist() == [[3, 3, 3], [bins.NO_NUMBER] * 3, [7, 7, 9], [bins.NO_NUMBER] * 3]
