"""Whether two samples of rows differ at all: a classifier tries to tell them apart (Lopez-Paz & Oquab 2017). Pure.

It sees what no feature shows alone: features that go together in another way. The rows of each half are told apart by
a classifier that learned on the other half, so that of equal distributions every order of their scores is as likely as
any other, and the Mann-Whitney test of a half is exact but for its normal approximation.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from airloom.contracts import Record
from airloom.monitoring.drift_reference import NUMBER, FeatureReference, is_null, number_of, text_of

MOST_ROWS = 5000  # of each sample; more are drawn from, always the same ones
LEAST_ROWS = 200  # of each sample
MOST_FEATURES = 100
MOST_WEIGHT = 20.0  # of a row of the reference
AUC, ALPHA = 0.6, 0.01  # from which on they differ
Array = np.ndarray[Any, Any]


@dataclass(frozen=True)
class TwoSampleTest(Record):
    """What the classifier found.

    Attributes:
        rows: of the reference and of the window that it looked at.
        auc: of rows that it had not learned from; 0.5: it cannot tell them apart.
        low: 95 % of that.
        high: the same.
        p: that the two are of one distribution.
        differ: whether effect and p-value both say so.
        importance: by feature, how much of the AUC goes when its values are shuffled; the largest first.
        says: why nothing is said; empty where something is.
    """

    rows: list[int] = field(default_factory=list)
    auc: float = 0.5
    low: float = 0.0
    high: float = 1.0
    p: float = 1.0
    differ: bool = False
    importance: dict[str, float] = field(default_factory=dict)
    says: str = ""


@dataclass(frozen=True)
class Matrix:
    """Rows of features as numbers: of a category its place among the reference's, NaN where there is no value.

    Attributes:
        cells: (n, features).
        names: of the features.
        categories: which of them are categories.
    """

    cells: Array
    names: tuple[str, ...]
    categories: tuple[bool, ...]

    def take(self, places: Array) -> "Matrix":
        """These rows."""
        return Matrix(self.cells[places], self.names, self.categories)


def matrix(references: Sequence[FeatureReference], values: Mapping[str, Sequence[Any]]) -> Matrix:
    """The features that have values, as a classifier takes them.

    Args:
        references: of numbers and categories.
        values: of each feature, all of the same length.
    """
    there = [one for one in references if one.name in values]
    columns = [column(one, values[one.name]) for one in there]
    cells = np.stack(columns, axis=1) if columns else np.zeros((0, 0))
    return Matrix(cells, tuple(one.name for one in there), tuple(one.kind != NUMBER for one in there))


def column(reference: FeatureReference, values: Sequence[Any]) -> Array:
    """One feature as float64 (n,); a category that training did not count by itself is one more.

    Args:
        reference: of a number or a category.
        values: of its rows.
    """
    if reference.kind == NUMBER:
        return np.array([number_of(cell) for cell in values], np.float64)
    places = {name: place for place, name in enumerate(reference.categories)}
    others = len(places)
    return np.array([np.nan if is_null(cell) else places.get(text_of(cell), others) for cell in values], np.float64)


def sample(rows: int, most: int = MOST_ROWS, seed: int = 0) -> Array:
    """Which of so many rows are looked at, ascending; the same for the same numbers.

    Args:
        rows: that there are.
        most: that are looked at.
        seed: of the choice.
    """
    if rows <= most:
        return np.arange(rows)
    return np.sort(np.random.default_rng(seed).choice(rows, most, replace=False))


def one_thread() -> Any:
    """A context in which scikit-learn's trees grow on one thread: a few thousand rows gain little by more.

    Threads of OpenMP wait for each other by spinning. On a busy machine that took six times as long.
    """
    from threadpoolctl import threadpool_limits

    return threadpool_limits(1, user_api="openmp")


class Discriminator:
    """Two samples told apart, each half by what was learned on the other."""

    def __init__(self, reference: Matrix, window: Matrix, seed: int = 0) -> None:
        self.names = reference.names
        self.cells = np.concatenate([reference.cells, window.cells])
        self.window = np.repeat([False, True], [len(reference.cells), len(window.cells)])
        generator = np.random.default_rng(seed)
        halves = np.zeros(len(self.cells), bool)
        for of in (~self.window, self.window):  # as many of each sample in both halves
            chosen = generator.permutation(np.flatnonzero(of))
            halves[chosen[: len(chosen) // 2]] = True
        self._generator = generator
        # Each model with the rows that it did not learn from.
        with one_thread():
            self._models = [
                (self._fit(reference.categories, ~rows), np.flatnonzero(rows)) for rows in (halves, ~halves)
            ]
            self.scores = np.zeros(len(self.cells))  # of being of the window, by the model that did not learn the row
            for model, rows in self._models:
                self.scores[rows] = model.predict_proba(self.cells[rows])[:, 1]

    def _fit(self, categories: Sequence[bool], rows: Array) -> Any:
        from sklearn.ensemble import HistGradientBoostingClassifier

        model = HistGradientBoostingClassifier(
            max_iter=50, max_leaf_nodes=15, categorical_features=list(categories), early_stopping=False, random_state=0
        )
        return model.fit(self.cells[rows], self.window[rows])

    def test(self) -> TwoSampleTest:
        """The AUC of both halves, its interval (DeLong 1988) and the p-value, corrected for two looks."""
        from scipy.stats import mannwhitneyu

        aucs, variances, ps = [], [], []
        for _, rows in self._models:
            of = self.window[rows]
            after, before = self.scores[rows][of], self.scores[rows][~of]
            area, variance = auc_of(before, after)
            aucs.append(area)
            variances.append(variance)
            ps.append(mannwhitneyu(after, before, alternative="greater", method="asymptotic").pvalue)
        area, p = float(np.mean(aucs)), min(1.0, 2 * float(min(ps)))
        half = 1.96 * float(np.sqrt(np.sum(variances))) / 2
        rows_of = [int((~self.window).sum()), int(self.window.sum())]
        with one_thread():
            importance = self.importance()
        differ = area > AUC and p < ALPHA
        return TwoSampleTest(rows_of, area, max(0.0, area - half), min(1.0, area + half), p, differ, importance)

    def importance(self) -> dict[str, float]:
        """How much of the AUC goes when a feature's values change places, by name, the largest first; never below 0."""
        lost = np.zeros(len(self.names))
        for model, rows in self._models:
            of, cells = self.window[rows], self.cells[rows]
            whole, _ = auc_of(self.scores[rows][~of], self.scores[rows][of])
            for place in range(len(self.names)):
                shuffled = cells.copy()
                shuffled[:, place] = self._generator.permutation(cells[:, place])
                scores = model.predict_proba(shuffled)[:, 1]
                lost[place] += (whole - auc_of(scores[~of], scores[of])[0]) / 2
        order = np.argsort(-lost, kind="stable")
        return {self.names[place]: max(0.0, float(lost[place])) for place in order}

    def weights(self) -> Array:
        """Of each row of the reference: how much more frequent such rows are in the window, at most `MOST_WEIGHT`."""
        chances = np.clip(self.scores[~self.window], 1e-6, 1 - 1e-6)
        ratio = chances / (1 - chances) * (~self.window).sum() / self.window.sum()
        return np.asarray(np.minimum(ratio, MOST_WEIGHT))


def auc_of(before: Array, after: Array) -> tuple[float, float]:
    """How often a score of `after` is above one of `before`, ties half, and the variance of that by DeLong."""
    from scipy.stats import rankdata

    n, m = len(before), len(after)
    ranks = rankdata(np.concatenate([before, after]))
    within_before, within_after = rankdata(before), rankdata(after)
    of_after = (ranks[n:] - within_after) / n
    of_before = 1 - (ranks[:n] - within_before) / m
    variance = (of_after.var(ddof=1) / m if m > 1 else 0.0) + (of_before.var(ddof=1) / n if n > 1 else 0.0)
    return float(of_after.mean()), float(variance)


def two_sample_test(reference: Matrix, window: Matrix, seed: int = 0) -> TwoSampleTest:
    """Whether a window's rows are told from the reference's; of too few rows, or without a feature, why not.

    Args:
        reference: rows of the training.
        window: rows of the same features.
        seed: of all that is drawn.
    """
    rows = [len(reference.cells), len(window.cells)]
    if not reference.names:
        return TwoSampleTest(rows, says="there is no feature that training and window both have")
    if min(rows) < LEAST_ROWS:
        whose = "the window" if rows[1] < LEAST_ROWS else "the training"
        return TwoSampleTest(rows, says=f"{min(rows)} rows of {whose}, fewer than {LEAST_ROWS}")
    return Discriminator(reference, window, seed).test()
