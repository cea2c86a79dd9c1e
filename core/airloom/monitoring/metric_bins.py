"""The bins of the model metrics: whole numbers by bin, which add up exactly, whoever counted them and in which order.

A bin is a small whole number, and a larger value never has a smaller one. All bins are fixed, so that what was counted
on two machines, or a year ago, still adds up.
"""

import math
from typing import Any

import numpy as np

Array = np.ndarray[Any, Any]
LATENCY_OCTAVE = 16  # bins between a latency and its double: a quantile is right to 2.2 %
NUMBER_OCTAVE = 32  # the same for answers that are numbers: right to 1.1 %
SCORES = 100  # bins of equal width between 0 and 1
NO_NUMBER = 32_767  # NaN, or a value that cannot be: it is counted, and no quantile knows it
SHARES = {"latency": (0.5, 0.95, 0.99), "numbers": (0.05, 0.5, 0.95), "scores": (0.05, 0.5, 0.95)}  # quantiles
_MOST = 32_000
_ROUNDED = 1e-5  # what float32 makes of a sum of probabilities
_WIDTH = 1 << 16  # more than there are bins
_ZERO = _MOST // 2  # the bin of 1, as those of small numbers shall be positive too


def latency_bins(milliseconds: Array) -> Array:
    """The bins of latencies."""
    values = np.asarray(milliseconds, np.float64)
    good = np.isfinite(values) & (values >= 0)
    raised = np.log2(np.where(good, np.maximum(values, 1e-3), 1.0)) * LATENCY_OCTAVE
    return np.where(good, np.clip(np.floor(raised), -_MOST, _MOST), NO_NUMBER).astype(np.int64)


def latency_of(bins: Array) -> Array:
    """The milliseconds in the middle of bins."""
    return np.asarray(np.exp2((np.asarray(bins, np.float64) + 0.5) / LATENCY_OCTAVE))


def score_bins(scores: Array) -> Array:
    """The bins of probabilities; that of 1 is the last one."""
    values = np.asarray(scores, np.float64)
    good = (values >= -_ROUNDED) & (values <= 1 + _ROUNDED)  # not NaN
    places = np.clip(np.floor(np.where(good, values, 0.0) * SCORES), 0, SCORES - 1)
    return np.where(good, places, NO_NUMBER).astype(np.int64)


def score_of(bins: Array) -> Array:
    """The probabilities in the middle of bins."""
    return np.asarray((np.asarray(bins, np.float64) + 0.5) / SCORES)


def number_bins(numbers: Array) -> Array:
    """The bins of answers that are numbers: 0 has its own, others by sign and logarithm."""
    values = np.asarray(numbers, np.float64)
    size = np.minimum(np.abs(values), np.finfo(np.float64).max)  # infinite ones go to the ends
    there = size > 0  # not NaN
    raised = np.floor(np.log2(np.where(there, size, 1.0)) * NUMBER_OCTAVE) + _ZERO
    places = np.where(there, np.sign(values) * np.clip(raised, 1, _MOST), 0.0)
    return np.where(np.isnan(values), NO_NUMBER, np.nan_to_num(places)).astype(np.int64)


def number_of(bins: Array) -> Array:
    """The numbers in the middle of bins."""
    places = np.asarray(bins, np.float64)
    size = np.exp2((np.minimum(np.abs(places), _MOST) - _ZERO + 0.5) / NUMBER_OCTAVE)
    return np.asarray(np.where(places == 0, 0.0, np.sign(places) * size))


def quantiles_of(histogram: dict[int, int], wanted: tuple[float, ...]) -> list[int]:
    """The same as `quantiles` of one histogram, by bin."""
    entries = sorted((place, count) for place, count in histogram.items() if place != NO_NUMBER and count > 0)
    total, found = sum(count for _, count in entries), []
    for share in wanted:
        rank, through = max(math.ceil(share * total), 1), 0
        for place, count in entries:
            through += count
            if through >= rank:
                found.append(place)
                break
        else:
            found.append(NO_NUMBER)
    return found


def in_order(keys: Array, counts: Array) -> tuple[Array, Array]:
    """Counts by key, the smallest first; what the store gives in its order is not sorted again."""
    if np.all(keys[1:] >= keys[:-1]):
        return keys, counts
    order = np.argsort(keys, kind="stable")
    return keys[order], counts[order]


def quantiles(groups: Array, bins: Array, counts: Array, wanted: tuple[float, ...], size: int) -> Array:
    """The bins of quantiles (nearest rank) of several histograms at once.

    Args:
        groups: which histogram each entry belongs to, 0 to `size`.
        bins: of the entries; those of one bin may stand apart.
        counts: of the entries.
        wanted: shares, 0 to 1.
        size: how many histograms there are.

    Returns:
        int64 (size, len(wanted)); `NO_NUMBER` where a histogram is empty.
    """
    found = np.full((size, len(wanted)), NO_NUMBER, np.int64)
    keys, counts = in_order(groups * _WIDTH + (bins + _WIDTH // 2), counts)
    if len(known := np.flatnonzero(keys % _WIDTH != NO_NUMBER + _WIDTH // 2)) < len(keys):
        keys, counts = keys[known], counts[known]
    if not len(keys):
        return found
    through, bins = np.cumsum(counts), keys % _WIDTH - _WIDTH // 2
    edges = np.searchsorted(keys, np.arange(size + 1) * _WIDTH)
    firsts, ends = edges[:-1], edges[1:]
    full = np.flatnonzero(ends > firsts)
    before = np.where(firsts[full] > 0, through[firsts[full] - 1], 0)
    totals = through[ends[full] - 1] - before
    for place, share in enumerate(wanted):
        ranks = np.maximum(np.ceil(share * totals), 1).astype(np.int64)
        found[full, place] = bins[np.searchsorted(through, before + ranks)]
    return found
