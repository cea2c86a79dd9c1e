"""Changes that are no drift of the world but a fault of the data: they are for whoever sends it. Pure.

One window is enough to say so.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np

from airloom.monitoring.drift import DriftRule, compare
from airloom.monitoring.drift_reference import (
    CATEGORY,
    NOTHING,
    NUMBER,
    Array,
    Counted,
    FeatureReference,
    count,
    numbers_of,
)

LEAST_ROWS = 30  # of a window
GONE = 0.5  # share of rows by which the empty ones have grown
NEW, NEW_ROWS = 0.01, 5  # share and rows of what training has never seen
MIXED = 0.9  # share of the most frequent value in training, below which a feature is not nearly constant
ANY_FACTOR = 5.0  # from this on also factors that nobody uses
NEAR = 0.4  # how far, as a logarithm, medians of few rows may be from the factor
FACTORS = (2.2046, 2.54, 3.2808, 3.6, 10, 12, 24, 60, 100, 1000, 1024, 3600, 86_400, 1e6, 1e9)  # between units


def fault(reference: FeatureReference, counted: Counted, values: Sequence[Any] | Array = ()) -> str:
    """What is wrong with a feature in a window, for people; "" where nothing is.

    Args:
        reference: of the feature.
        counted: the window.
        values: of the window, by which a changed unit is found; without them it is not looked for.
    """
    if counted.rows < LEAST_ROWS or reference.kind == NOTHING:
        return ""
    empty, before = counted.nulls / counted.rows, reference.nulls / max(reference.rows, 1)
    if empty - before >= GONE:
        return f"is null in {empty:.0%} of the rows, in training in {before:.0%}"
    if reference.kind == NUMBER and _many(counted.odd, counted.rows):
        return f"is no number in {counted.odd / counted.rows:.0%} of the rows"
    new = sum(rows for _, rows in counted.unseen)
    if reference.kind == CATEGORY and not reference.counts[-1] and _many(new, counted.rows):
        names = ", ".join(ascii(name[:40]) for name, _ in counted.unseen[:3])
        return f"is in {new / counted.rows:.1%} of the rows what training never had: {names}"
    most = max(reference.counts, default=0) / max(sum(reference.counts), 1)
    if counted.same and counted.nulls == 0 and most < MIXED and _is_varied(reference, counted.rows):
        return f"is {counted.same[:40]} in every row"
    if reference.kind == NUMBER and (factor := changed_unit(reference, values)):
        return f"looks multiplied by {factor:g}: was its unit changed?"
    return ""


def changed_unit(reference: FeatureReference, values: Sequence[Any] | Array) -> float:
    """The factor that turns the reference into the values, where it is that of two units or five and more; else 0."""
    numbers, _, _ = numbers_of(values)
    numbers = numbers[np.isfinite(numbers)]
    rule = DriftRule(rows=LEAST_ROWS)
    few = len(numbers) < LEAST_ROWS or sum(reference.counts) < LEAST_ROWS
    if few or _distance(reference, numbers, rule) is not None or not (estimate := _scale(reference, numbers)):
        return 0.0
    near = [one for factor in FACTORS for one in (factor, 1 / factor) if abs(np.log(one / estimate)) < NEAR]
    tried = [*near, *([estimate] if max(estimate, 1 / estimate) >= ANY_FACTOR else [])]
    distances = {one: _distance(reference, numbers / one, rule) for one in tried}
    fitting = {one: distance for one, distance in distances.items() if distance is not None}
    return float(f"{min(fitting, key=lambda one: fitting[one]):.4g}") if fitting else 0.0


def _scale(reference: FeatureReference, numbers: Array) -> float:
    """How many times as far from zero the values lie; 0 where they lie on another side, or at zero."""
    before = np.array(reference.quantiles)
    after = np.quantile(numbers, (0.1, 0.25, 0.5, 0.75, 0.9))
    far = int(np.argmax(np.abs(before)))
    if before[far] == 0 or after[far] == 0:
        return 0.0
    ratio = float(after[far] / before[far])
    return ratio if ratio > 0 else 0.0


def _distance(reference: FeatureReference, numbers: Array, rule: DriftRule) -> float | None:
    """How far numbers are from the reference; None where that is farther than chance."""
    (drift,) = compare([reference], {reference.name: count(reference, numbers)}, rule)
    # Of few rows both are large by chance: the index by about the number of bins by that of rows.
    near = drift.psi <= rule.psi + 22 / len(numbers) and drift.ks <= rule.ks + np.sqrt(0.5 / len(numbers))
    return drift.ks if drift.says or near else None


def _many(rows: int, of: int) -> bool:
    return rows >= NEW_ROWS and rows / of >= NEW


def _is_varied(reference: FeatureReference, rows: int) -> bool:
    """Whether so many rows of one value are no chance: less than once in a million windows."""
    most = max(reference.counts) / max(sum(reference.counts), 1)
    return most**rows < 1e-6
