"""How far a window is from the reference, and whether that is drift. Pure functions of counts.

An effect decides: the population stability index at the reference's deciles (Siddiqi 2006), or the Kolmogorov-Smirnov
distance. A p-value, corrected for the number of features (Benjamini & Hochberg 1995), is a guard beside it: without
an effect it decides nothing, as with many rows every difference is significant. A feature drifts where it moved in two
windows in a row.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from airloom.contracts import Record
from airloom.monitoring.drift_reference import CATEGORY, NOTHING, NUMBER, Counted, FeatureReference

COARSE = 10  # bins of a number for the index
LEAST_EXPECTED = 5  # rows that a category needs in a window to be told from the other rare ones
Array = np.ndarray[Any, Any]


@dataclass(frozen=True)
class DriftRule(Record):
    """When a feature moved.

    Attributes:
        psi: the index that is too large.
        ks: the distance that is too large, of numbers.
        alpha: level of the corrected p-value.
        rows: with a value, in window and reference, below which nothing is said.
        windows: in a row that a feature has to move in to drift.
    """

    psi: float = 0.1
    ks: float = 0.09
    alpha: float = 0.01
    rows: int = 200
    windows: int = 2


@dataclass(frozen=True)
class FeatureDrift(Record):
    """One feature in one window.

    Attributes:
        name: of the feature.
        kind: `number` or `category`.
        rows: of the window.
        nulls: of these.
        psi: population stability index; 0 where nothing is said.
        ks: of numbers: the largest gap between the two distribution functions at the reference's bins.
        p: of the hypothesis that nothing changed.
        adjusted: the same, corrected for all features of the window.
        moved: whether effect and p-value both say so.
        says: why nothing is said of it; empty where something is.
    """

    name: str
    kind: str
    rows: int
    nulls: int
    psi: float = 0.0
    ks: float = 0.0
    p: float = 1.0
    adjusted: float = 1.0
    moved: bool = False
    says: str = ""


def compare(
    references: Sequence[FeatureReference], window: Mapping[str, Counted], rule: DriftRule | None = None
) -> list[FeatureDrift]:
    """What each feature of a window is against its reference, in the order of the references.

    Args:
        references: of the features.
        window: counted in their bins, by name; those that are missing have nothing to say.
        rule: when a feature moved.
    """
    limits = rule or DriftRule()
    measured = [_one(reference, window.get(reference.name), limits) for reference in references]
    with_p = [place for place, feature in enumerate(measured) if not feature.says]
    if with_p:
        from scipy.stats import false_discovery_control

        adjusted = false_discovery_control([measured[place].p for place in with_p], method="bh")
        for place, value in zip(with_p, adjusted.tolist(), strict=True):
            feature = measured[place]
            far = feature.psi > limits.psi or feature.ks > limits.ks
            measured[place] = feature.with_(adjusted=value, moved=bool(far and value < limits.alpha))
    return measured


def _one(reference: FeatureReference, counted: Counted | None, rule: DriftRule) -> FeatureDrift:
    if reference.kind == NOTHING or counted is None:
        says = reference.says or "the log keeps nothing of it"
        return FeatureDrift(reference.name, reference.kind, 0, 0, says=says)
    drift = FeatureDrift(reference.name, reference.kind, counted.rows, counted.nulls)
    had, there = sum(reference.counts), sum(counted.counts)
    if had < rule.rows:
        return drift.with_(says=f"{had} rows with a value in training, fewer than {rule.rows}")
    if counted.rows < rule.rows:
        return drift.with_(says=f"{counted.rows} rows in the window, fewer than {rule.rows}")
    if there == 0:
        return drift.with_(says="no row of the window has a value")
    before, after = np.array(reference.counts, np.float64), np.array(counted.counts, np.float64)
    if np.count_nonzero(before + after) == 1 and not reference.nulls and not counted.nulls:
        return drift.with_(says="it is constant, as in training")
    numbers = reference.kind == NUMBER
    bins = _coarse(before) if numbers else _rare(before, there)
    index = psi(*_grouped(before, after, bins, reference.nulls, counted.nulls))
    merged = _within(bins) if numbers else bins
    p = chi_square(*_grouped(before, after, merged, reference.nulls, counted.nulls))
    if not numbers:
        return drift.with_(psi=index, p=p)
    distance, p_ks = kolmogorov_smirnov(before, after)
    return drift.with_(psi=index, ks=distance, p=min(1.0, 2 * min(p, p_ks)))  # two looks


def psi(before: Array, after: Array) -> float:
    """Population stability index of counts by bin. Half a row is added to each, so that an empty bin is finite."""
    expected = (before + 0.5) / (before.sum() + 0.5 * len(before))
    actual = (after + 0.5) / (after.sum() + 0.5 * len(after))
    return float(((actual - expected) * np.log(actual / expected)).sum())


def kolmogorov_smirnov(before: Array, after: Array) -> tuple[float, float]:
    """The distance of counts by ordered bin, and its asymptotic p-value, which is too large rather than too small.

    Between two edges the true distance may be larger: of numbers in 30 bins by at most a thirtieth.
    """
    from scipy.stats import kstwobign

    n, m = before.sum(), after.sum()
    distance = float(np.abs(before.cumsum() / n - after.cumsum() / m).max())
    return distance, float(kstwobign.sf(np.sqrt(n * m / (n + m)) * distance))


def chi_square(before: Array, after: Array) -> float:
    """The p-value that counts by bin are of one distribution; 1 where there is one bin only."""
    from scipy.stats import chi2_contingency

    table = np.stack([before, after])
    table = table[:, table.sum(axis=0) > 0]
    if table.shape[1] < 2 or not table.sum(axis=1).all():
        return 1.0
    return float(chi2_contingency(table, correction=False).pvalue)


def _coarse(before: Array) -> Array:
    """The coarse bin of each fine one: about tenths of the reference; below and above it a bin of its own each."""
    inner = before[1:-1]
    middles = (inner.cumsum() - inner / 2) / max(inner.sum(), 1)
    groups = np.minimum((middles * COARSE).astype(np.int64), COARSE - 1) + 1
    return np.concatenate([[0], groups, [COARSE + 1]])


def _within(bins: Array) -> Array:
    """The same with what lies beyond the reference in the next bin: an empty bin breaks the chi-square test."""
    inner = bins[1:-1]
    return np.clip(bins, inner.min(), inner.max()) if len(inner) else np.zeros_like(bins)


def _rare(before: Array, rows: float) -> Array:
    """The group of each category: one of its own, or that of the rare ones, in which those never seen are too."""
    common = before / before.sum() * rows >= LEAST_EXPECTED
    common[-1] = False
    groups = np.zeros(len(before), np.int64)
    groups[common] = np.arange(1, common.sum() + 1)
    return groups


def _grouped(before: Array, after: Array, bins: Array, nulls: int, new_nulls: int) -> tuple[Array, Array]:
    """Counts by group, and behind them the rows without a value where there are enough to be told."""
    size = int(bins.max()) + 1
    counts = [np.bincount(bins, weights=values, minlength=size) for values in (before, after)]
    has = counts[0] + counts[1] > 0
    if nulls + new_nulls >= LEAST_EXPECTED:
        more = np.array([[float(nulls)], [float(new_nulls)]])
        return np.append(counts[0][has], more[0]), np.append(counts[1][has], more[1])
    return counts[0][has], counts[1][has]


def in_a_row(moved: Sequence[bool | None], windows: int) -> int:
    """The place of the first window that ends so many moved ones in a row; -1 where there is none.

    Args:
        moved: by window, oldest first; None where nothing was said, which neither counts nor breaks a row.
        windows: that are needed.
    """
    run = 0
    for place, one in enumerate(moved):
        if one is None:
            continue
        run = run + 1 if one else 0
        if run >= windows:
            return place
    return -1


def kinds_of(references: Sequence[FeatureReference]) -> dict[str, int]:
    """How many features are numbers, categories, and nothing to compare with."""
    return {kind: sum(one.kind == kind for one in references) for kind in (NUMBER, CATEGORY, NOTHING)}
