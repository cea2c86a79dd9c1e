"""Metrics of all rows together, computed of weighted rows: many resamples at once.

scikit-learn computes what is shown. A resample of rows is how often each row was drawn; a metric of counts (F1, IoU)
is a function of weighted sums, one of ranks (AUC, average precision) of weighted sums along the sorted scores. So
thousands of resamples are a few matrix products, where thousands of calls of scikit-learn would take minutes. A test
holds both to be equal.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from airloom.spec.tasks import precision_of
from airloom.tasks.rows import Answered, Array

Weighted = Callable[[Array], Array]  # weights (R, n) -> values (R,); NaN where the metric is not defined
LOWER = frozenset({"log_loss", "mae", "mse", "rmse", "perplexity"})  # the metrics of which less is better


def sign(metric: str) -> int:
    """1 where more is better, -1 where less is."""
    return -1 if metric in LOWER else 1


class Whole(Protocol):
    """A metric of all rows."""

    def value(self, rows: Answered) -> float:
        """What is shown."""

    def weighted(self, rows: Answered) -> Weighted:
        """The same of weighted rows."""


@dataclass(frozen=True)
class Sums:
    """A function of what is added up over the rows, (n, k): as quick for a million rows as for a thousand."""

    cells: Array
    of: Callable[[Array], Array]  # (R, k) -> (R,)

    def __call__(self, weights: Array) -> Array:
        with np.errstate(divide="ignore", invalid="ignore"):
            return self.of(weights.astype(np.float64) @ self.cells)


@dataclass(frozen=True)
class OfSums:
    """A metric of sums.

    Attributes:
        cells: what is added up of each row, (n, k).
        of: the metric of sums, (R, k) -> (R,).
        shown: by scikit-learn; None: the same function.
    """

    cells: Callable[[Answered], Array]
    of: Callable[[Array], Array]
    shown: Callable[[Answered], float] | None = None

    def value(self, rows: Answered) -> float:
        """See `Whole`."""
        return self.shown(rows) if self.shown else float(self.weighted(rows)(np.ones((1, len(rows))))[0])

    def weighted(self, rows: Answered) -> Weighted:
        """See `Whole`."""
        return Sums(self.cells(rows).astype(np.float64), self.of)


@dataclass(frozen=True)
class OfScores:
    """A metric of the order of scores, its mean over several columns: those that have both kinds of rows.

    Attributes:
        cells: truth, bool (n, k), and scores (n, k).
        of: from the weighted true and false positives at each threshold, both (R, thresholds), to (R,).
        shown: by scikit-learn, of one column's truth and scores.
    """

    cells: Callable[[Answered], tuple[Array, Array]]
    of: Callable[[Array, Array], Array]
    shown: Callable[[Array, Array], float]

    def value(self, rows: Answered) -> float:
        """See `Whole`; NaN where no column has both kinds of rows."""
        truth, scores = self.cells(rows)
        both = [place for place in range(truth.shape[1]) if truth[:, place].any() and not truth[:, place].all()]
        values = [self.shown(truth[:, place], scores[:, place]) for place in both]
        return float(np.mean(values)) if values else float("nan")

    def weighted(self, rows: Answered) -> Weighted:
        """See `Whole`."""
        truth, scores = self.cells(rows)
        columns = [_Ranked.of_column(truth[:, place], scores[:, place], self.of) for place in range(truth.shape[1])]

        def values(weights: Array) -> Array:
            every = np.stack([column(weights) for column in columns], 1)
            known = np.isfinite(every)
            with np.errstate(invalid="ignore"):
                return np.where(known, every, 0).sum(axis=1) / known.sum(axis=1)  # type: ignore[no-any-return]

        return values


@dataclass(frozen=True)
class _Ranked:
    """One column's rows from the highest score down; rows of one score are one threshold."""

    order: Array
    truth: Array
    ends: Array
    of: Callable[[Array, Array], Array]

    @classmethod
    def of_column(cls, truth: Array, scores: Array, of: Callable[[Array, Array], Array]) -> "_Ranked":
        order = np.argsort(-scores, kind="stable")
        ends = np.append(np.flatnonzero(np.diff(scores[order])), len(order) - 1)
        return cls(order, truth[order].astype(np.float64), ends, of)

    def __call__(self, weights: Array) -> Array:
        drawn = weights[:, self.order].astype(np.float64)
        positive = drawn * self.truth
        hits, misses = positive.cumsum(axis=1)[:, self.ends], (drawn - positive).cumsum(axis=1)[:, self.ends]
        with np.errstate(divide="ignore", invalid="ignore"):
            values = self.of(hits, misses)
        both = (hits[:, -1] > 0) & (misses[:, -1] > 0)
        return np.where(both, values, np.nan)


# -- functions of weighted counts


def f1_of(counts: Array) -> Array:
    """Macro F1 of (R, 3 k): true positives, predicted and labelled rows of each class; classes without any left out."""
    hits, predicted, labelled = np.split(counts, 3, axis=1)
    known = predicted + labelled > 0
    f1 = np.where(known, 2 * hits / np.where(known, predicted + labelled, 1), 0)
    return f1.sum(axis=1) / known.sum(axis=1)  # type: ignore[no-any-return]


def iou_of(counts: Array) -> Array:
    """Mean intersection over union of (R, 3 k): as `f1_of`."""
    hits, predicted, labelled = np.split(counts, 3, axis=1)
    union = predicted + labelled - hits
    iou = np.where(union > 0, hits / np.where(union > 0, union, 1), 0)
    return iou.sum(axis=1) / (union > 0).sum(axis=1)  # type: ignore[no-any-return]


def micro_f1_of(counts: Array) -> Array:
    """F1 of all classes' counts together."""
    hits, predicted, labelled = (part.sum(axis=1) for part in np.split(counts, 3, axis=1))
    return 2 * hits / (predicted + labelled)  # type: ignore[no-any-return]


def auc_of(hits: Array, misses: Array) -> Array:
    """The area below the ROC curve, by trapezoids."""
    before, fell = np.pad(hits[:, :-1], ((0, 0), (1, 0))), np.diff(misses, axis=1, prepend=0)
    return ((hits + before) / 2 * fell).sum(axis=1) / (hits[:, -1] * misses[:, -1])  # type: ignore[no-any-return]


def average_precision_of(hits: Array, misses: Array) -> Array:
    """The sum of the gains in recall, each times the precision at its threshold."""
    gained = np.diff(hits, axis=1, prepend=0)
    precision = np.where(gained > 0, hits / np.where(gained > 0, hits + misses, 1), 0)
    return (gained * precision).sum(axis=1) / hits[:, -1]  # type: ignore[no-any-return]


def recall_at(least: float) -> Callable[[Array, Array], Array]:
    """The largest recall whose precision is at least so much; 0 where there is none."""

    def of(hits: Array, misses: Array) -> Array:
        recall = hits / hits[:, -1:]
        precise = hits >= least * (hits + misses) - 1e-9 * (hits + misses)
        return np.where(precise & (hits > 0), recall, 0).max(axis=1)  # type: ignore[no-any-return]

    return of


# -- the same by scikit-learn, of one column


def ranked(metric: str) -> tuple[Callable[[Array, Array], Array], Callable[[Array, Array], float]] | None:
    """Of the name of a metric of ranks: the function of counts, and scikit-learn's; None where it is none."""
    if metric == "auc":
        return auc_of, _auc
    if metric == "average_precision":
        return average_precision_of, _average_precision
    if (least := precision_of(metric)) is not None:
        return recall_at(least), lambda truth, scores: _recall_at(truth, scores, least)
    return None


def _auc(truth: Array, scores: Array) -> float:
    from sklearn.metrics import roc_auc_score

    return float(roc_auc_score(truth, scores))


def _average_precision(truth: Array, scores: Array) -> float:
    from sklearn.metrics import average_precision_score

    return float(average_precision_score(truth, scores))


def _recall_at(truth: Array, scores: Array, least: float) -> float:
    from sklearn.metrics import precision_recall_curve

    precision, recall, _ = precision_recall_curve(truth, scores)
    return float(recall[:-1][precision[:-1] >= least - 1e-9].max(initial=0.0))
