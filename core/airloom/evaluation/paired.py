"""Paired statistics: candidate and champion on the same rows. Numbers in, numbers out.

A row's gain is what the candidate does better on it: 1, 0 or -1 for right answers, the difference of the losses else.
"""

import math
from dataclasses import dataclass
from statistics import NormalDist
from typing import Any

import numpy as np

Array = np.ndarray[Any, Any]
MOST_VALUES = 512  # more different gains than these are drawn in groups of neighbours, each by its mean
TAIL = 64  # of those at either end stay as they are: a long tail is most of the spread
_NORMAL = NormalDist()


@dataclass(frozen=True)
class Bounds:
    """One-sided bounds of the mean gain, each at the same alpha."""

    lower: float
    upper: float


def bootstrap(gains: Array, alpha: float, resamples: int, seed: int) -> Bounds:
    """Percentile bounds (Efron & Tibshirani 1993, ch. 13), by multinomial counts.

    A resample is one draw of how often each different gain occurs, so that 100,000 rows of right and wrong cost as much
    as three.

    Args:
        gains: by row.
        alpha: of each bound.
        resamples: how many are drawn.
        seed: of the draws.
    """
    means, _ = _resampled(gains, resamples, seed)
    low, high = np.quantile(means, [alpha, 1 - alpha])
    return Bounds(float(low), float(high))


def studentised(gains: Array, alpha: float, resamples: int, seed: int) -> Bounds:
    """Bootstrap-t bounds (ibid., ch. 12.5): right for skewed gains, where percentiles promise too much.

    Args:
        gains: by row.
        alpha: of each bound.
        resamples: how many are drawn.
        seed: of the draws.
    """
    means, errors = _resampled(gains, resamples, seed)
    mean, error = float(gains.mean()), float(gains.std()) / math.sqrt(len(gains))
    if error <= 1e-12 * max(1.0, abs(mean)):
        return Bounds(mean, mean)
    # A resample of equal rows has no spread: it tells nothing of where the mean may lie, so it counts as extreme.
    with np.errstate(divide="ignore", invalid="ignore"):
        ratios = np.where(errors > 0, (means - mean) / errors, np.where(means >= mean, np.inf, -np.inf))
    high, low = np.quantile(ratios, [alpha, 1 - alpha], method="inverted_cdf")
    return Bounds(mean - float(low) * error, mean - float(high) * error)


def _resampled(gains: Array, resamples: int, seed: int) -> tuple[Array, Array]:
    """Mean and standard error of each resample."""
    rows, generator = len(gains), np.random.default_rng(seed)
    values, counts = _grouped(gains)
    means, errors = np.empty(resamples), np.empty(resamples)
    for at in range(0, resamples, 2000):  # a part at a time: 512 values and 10,000 resamples would be 40 MB at once
        part = slice(at, min(at + 2000, resamples))
        drawn = generator.multinomial(rows, counts / rows, part.stop - part.start)
        means[part] = drawn @ values / rows
        errors[part] = np.sqrt(np.maximum(drawn @ values**2 / rows - means[part] ** 2, 0) / rows)
    errors[errors < 1e-12 * max(1.0, float(np.abs(values).max()))] = 0  # rounding of a spread of 0
    return means, errors


def _grouped(gains: Array) -> tuple[Array, Array]:
    values, counts = np.unique(gains.astype(np.float64), return_counts=True)
    if len(values) <= MOST_VALUES:
        return values, counts
    ordered = np.sort(gains.astype(np.float64))
    ends, middle = ordered[[*range(TAIL), *range(-TAIL, 0)]], ordered[TAIL:-TAIL]
    parts = [*ends.reshape(-1, 1), *np.array_split(middle, MOST_VALUES - 2 * TAIL)]
    return np.array([part.mean() for part in parts]), np.array([len(part) for part in parts])


def score_statistic(better: int, worse: int, rows: int, difference: float) -> float:
    """Tango's score statistic of the hypothesis that the true difference is `difference` (Tango 1998, eq. 3 to 5).

    Args:
        better: rows that only the candidate has right.
        worse: rows that only the champion has right.
        rows: all rows.
        difference: candidate minus champion, -1 < difference < 1.
    """
    b = -better - worse + (2 * rows - better + worse) * difference
    root = math.sqrt(max(b * b + 8 * rows * worse * difference * (1 - difference), 0.0))
    share = (root - b) / (4 * rows)  # of rows that got worse, were the hypothesis true
    variance = rows * (2 * share + difference * (1 - difference))
    distance = better - worse - rows * difference
    if variance <= 0:
        return math.copysign(math.inf, distance) if distance else 0.0
    return distance / math.sqrt(variance)


def score(better: int, worse: int, rows: int, alpha: float) -> Bounds:
    """Tango's score bounds of the difference of two paired shares: right also for few rows that differ, and none.

    Args:
        better: rows that only the candidate has right.
        worse: rows that only the champion has right.
        rows: all rows.
        alpha: of each bound.
    """
    limit, difference = _NORMAL.inv_cdf(1 - alpha), (better - worse) / rows
    lower = _crossing(lambda d: score_statistic(better, worse, rows, d) - limit, -1.0, difference)
    # Exchanging the two sides turns the difference around, and with it the bound.
    upper = -_crossing(lambda d: score_statistic(worse, better, rows, d) - limit, -1.0, -difference)
    return Bounds(lower, upper)


def _crossing(function: Any, low: float, high: float) -> float:
    """Where a falling function passes 0 between `low` and `high`."""
    if function(low + 1e-12) <= 0:
        return low
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if function(middle) > 0 else (low, middle)
    return low


def mcnemar(better: int, worse: int) -> float:
    """The exact one-sided p-value of McNemar's test that the candidate is no better: a sign test on differing rows."""
    differing = better + worse
    logs = [_log_choose(differing, k) - differing * math.log(2) for k in range(better, differing + 1)]
    return min(1.0, math.fsum(math.exp(value) for value in logs))


def _log_choose(n: int, k: int) -> float:
    return math.lgamma(n + 1) - math.lgamma(k + 1) - math.lgamma(n - k + 1)


def power(gains: Array, effect: float, margin: float, alpha: float, rows: int | None = None) -> float:
    """The chance that a candidate whose true gain is `effect` passes, by the normal approximation.

    Args:
        gains: of the rows at hand; their spread is taken for that of others.
        effect: the true gain.
        margin: by how much it may be worse.
        alpha: one-sided.
        rows: planned rows, default: those at hand.
    """
    count = rows or len(gains)
    spread = math.sqrt(max(float((gains.astype(np.float64) ** 2).mean()) - effect**2, 0.0))
    # Rows that do not differ at all say no more than that differing ones are rarer than 3 in all.
    error = (spread or math.sqrt(3 / len(gains))) / math.sqrt(count)
    return _NORMAL.cdf((effect + margin) / error - _NORMAL.inv_cdf(1 - alpha))
