"""The accuracy that scores promise: confidence-based performance estimation (Guillory et al. 2021; CBPE). Pure.

How often an answer with such a score is right is counted on rows of a test split, whose labels are known, and made
ascending (isotonic regression); the mean over a window's scores is its expected accuracy. That is right as long as rows
with equal scores are right as often as they were: no concept drift. Without labels nobody can see whether it is.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from airloom.contracts import Record

BINS = 100  # of the scores, at their quantiles
DRAWS = 400  # resamples of the test rows, by which the calibration itself is uncertain
LEVEL = 0.95  # of an interval
LEAST_ROWS = 100  # of a window, and of the test rows
CHANCE = 0.05  # so seldom may as many intervals miss by chance before the estimate is called wrong
Array = np.ndarray[Any, Any]


@dataclass(frozen=True)
class Calibration(Record):
    """How often answers were right, by score: whole numbers.

    Attributes:
        edges: of the scores' bins: bin k has the scores above edge k-1 up to edge k.
        rows: of the test split, by bin.
        right: of these.
    """

    edges: list[float]
    rows: list[int]
    right: list[int]

    @property
    def accuracy(self) -> float:
        """Of all test rows."""
        return sum(self.right) / sum(self.rows)


@dataclass(frozen=True)
class Expected(Record):
    """An estimate.

    Attributes:
        value: the expected accuracy.
        low: where the measured accuracy of these rows is to lie, at `LEVEL`: chance in the rows' labels, and in the
            test rows by which scores were calibrated.
        high: the same.
        drop: how far the estimate lies below the accuracy of the test rows, at least, at `LEVEL`; below 0: it may not.
    """

    value: float
    low: float
    high: float
    drop: float


def calibrate(scores: Array, right: Array) -> Calibration:
    """Count how often answers of a test split were right.

    Args:
        scores: the probability of each answered class, at least one.
        right: whether it was right, bool.
    """
    edges = np.unique(np.quantile(scores, np.arange(1, BINS) / BINS, method="inverted_cdf"))
    places = np.searchsorted(edges, scores)
    rows = np.bincount(places, minlength=len(edges) + 1)
    hits = np.bincount(places, weights=right.astype(np.float64), minlength=len(edges) + 1)
    return Calibration(edges.tolist(), rows.tolist(), hits.astype(np.int64).tolist())


class Estimator:
    """Expected accuracies by one calibration. The same calibration and scores give the same estimate."""

    def __init__(self, calibration: Calibration, seed: int = 0) -> None:
        self.calibration = calibration
        rows, right = np.array(calibration.rows), np.array(calibration.right)
        self._edges, self._rates = np.array(calibration.edges), _ascending(rows, right)
        generator = np.random.default_rng(seed)
        cells = np.concatenate([right, rows - right])
        drawn = generator.multinomial(int(cells.sum()), cells / cells.sum(), DRAWS)
        hits, all_rows = drawn[:, : len(right)], drawn[:, : len(right)] + drawn[:, len(right) :]
        self._drawn = np.stack([_ascending(n, h) for n, h in zip(all_rows, hits, strict=True)])
        self._baselines = hits.sum(axis=1) / all_rows.sum(axis=1)
        self._noise = generator.normal(size=DRAWS)

    def expected(self, scores: Array) -> Expected:
        """The accuracy that is to be expected of answers with these scores, of which there is at least one.

        Args:
            scores: the probability of each answered class, each a number.
        """
        counts = np.bincount(np.searchsorted(self._edges, scores), minlength=len(self._rates))
        rows = len(scores)
        means = self._drawn @ counts / rows
        spread = np.sqrt((self._drawn * (1 - self._drawn)) @ counts) / rows
        outside = (1 - LEVEL) / 2
        low, high = np.quantile(means + spread * self._noise, [outside, 1 - outside])
        drop = np.quantile(self._baselines - means, outside)
        value = float(self._rates @ counts / rows)
        return Expected(value, max(0.0, float(low)), min(1.0, float(high)), float(drop))


def _ascending(rows: Array, right: Array) -> Array:
    """The rate of each bin, never falling with the score; a bin without rows lies between its neighbours."""
    from scipy.optimize import isotonic_regression

    there = np.flatnonzero(rows)
    fitted = isotonic_regression(right[there] / rows[there], weights=rows[there]).x
    return np.asarray(np.interp(np.arange(len(rows)), there, fitted))


@dataclass(frozen=True)
class PastEstimates(Record):
    """How estimates did where labels came later.

    Attributes:
        windows: with enough labels.
        missed: of these, whose measured accuracy lay outside the interval.
        error: mean distance of estimate and measurement.
        bias: mean of estimate minus measurement: above 0, the estimate was too good.
        chance: of as many misses or more, were the intervals right.
        trusted: whether it may ask for something to be done.
    """

    windows: int = 0
    missed: int = 0
    error: float = 0.0
    bias: float = 0.0
    chance: float = 1.0
    trusted: bool = True


def judge(checked: Sequence[tuple[Expected, float]]) -> PastEstimates:
    """Whether intervals missed what was measured more often than they said they would.

    Args:
        checked: each estimate, and the accuracy that was measured of the same rows.
    """
    if not checked:
        return PastEstimates()
    from scipy.stats import binom

    missed = sum(not one.low <= measured <= one.high for one, measured in checked)
    gaps = np.array([one.value - measured for one, measured in checked])
    chance = float(binom.sf(missed - 1, len(checked), 1 - LEVEL))
    error, bias = float(np.abs(gaps).mean()), float(gaps.mean())
    return PastEstimates(len(checked), missed, error, bias, chance, chance >= CHANCE)
