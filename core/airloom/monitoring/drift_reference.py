"""What one feature was like in training: counts in bins at its quantiles, or by category. Pure.

Counts are whole numbers: those of several parts add up to those of the whole, exactly. What is compared with a
reference later is counted in its bins, so that nobody needs the training's rows again.
"""

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from airloom.classes import name_of
from airloom.contracts import Record

FINE = 30  # bins of a number between its smallest and largest value
MOST_CATEGORIES = 200  # that are counted one by one
MOST_DISTINCT = 1000  # categories; of more, nearly one a row, nothing is said
UNSEEN = 20  # categories that the reference has not, which are named
NUMBER, CATEGORY, NOTHING = "number", "category", "nothing"
QUANTILES = (0.1, 0.25, 0.5, 0.75, 0.9)
Array = np.ndarray[Any, Any]


@dataclass(frozen=True)
class FeatureReference(Record):
    """One feature of the reference.

    Attributes:
        name: as the profile of the dataset's type calls it.
        kind: `number`, `category`, or `nothing` where there is nothing to compare with.
        rows: of the reference.
        nulls: rows without a value; NaN is none.
        edges: of numbers: the bin k has the values above edge k-1 up to edge k; below the first and above the last edge
            no value of the reference lies.
        categories: of categories: the names that are counted one by one, the most frequent first.
        counts: by bin, or by category and, behind them, of all others.
        quantiles: of numbers, at `QUANTILES`.
        says: why there is nothing to say.
    """

    name: str
    kind: str
    rows: int
    nulls: int = 0
    edges: list[float] = field(default_factory=list)
    categories: list[str] = field(default_factory=list)
    counts: list[int] = field(default_factory=list)
    quantiles: list[float] = field(default_factory=list)
    says: str = ""


@dataclass(frozen=True)
class Counted:
    """Rows counted in the bins of a reference.

    Attributes:
        rows: all.
        nulls: without a value.
        odd: with something that is no number, where numbers are expected.
        counts: as `FeatureReference.counts`.
        unseen: categories that the reference has not, with their rows, the most frequent first; cut at `UNSEEN`.
        same: the value, where all have the same one.
    """

    rows: int
    nulls: int
    odd: int
    counts: tuple[int, ...]
    unseen: tuple[tuple[str, int], ...] = ()
    same: str = ""


def reference_of(name: str, values: Sequence[Any] | Array) -> FeatureReference:
    """The reference of a feature's values: numbers where all are, booleans and text are categories.

    Args:
        name: of the feature.
        values: None or NaN where there is none.
    """
    if isinstance(values, np.ndarray) and values.dtype.kind in "iuf":
        numbers, nulls, _ = numbers_of(values)
        return _of_numbers(name, numbers, len(values))
    cells = values.tolist() if isinstance(values, np.ndarray) else list(values)
    there = [cell for cell in cells if not is_null(cell)]
    rows, nulls = len(cells), len(cells) - len(there)
    if not there:
        return FeatureReference(name, NOTHING, rows, nulls, says="it has no value in training")
    if all(_is_number(cell) for cell in there):
        return _of_numbers(name, np.array(there, np.float64), rows)
    if all(isinstance(cell, str | bool | int) for cell in there):
        return _of_categories(name, Counter(name_of(cell) for cell in there), rows, nulls)
    return FeatureReference(name, NOTHING, rows, nulls, says=f"{type(there[0]).__name__} is no number and no category")


def _of_numbers(name: str, values: Array, rows: int) -> FeatureReference:
    finite = values[np.isfinite(values)]
    if not len(values):
        return FeatureReference(name, NOTHING, rows, rows, says="it has no value in training")
    if not len(finite):
        return FeatureReference(name, NOTHING, rows, rows, says="it has no finite value in training")
    inner = np.quantile(finite, np.arange(1, FINE) / FINE, method="inverted_cdf")
    # The smallest value lies in the first bin between the ends: below that lies what training has never seen.
    below = np.nextafter(finite.min(), -np.inf)
    edges = np.unique(np.concatenate([[below], inner, [finite.max()]]))
    counts = np.bincount(np.searchsorted(edges, values), minlength=len(edges) + 1)
    return FeatureReference(
        name,
        NUMBER,
        rows,
        rows - len(values),
        edges.tolist(),
        counts=counts.tolist(),
        quantiles=np.quantile(finite, QUANTILES).tolist(),
    )


def _of_categories(name: str, counts: Counter[str], rows: int, nulls: int) -> FeatureReference:
    if len(counts) > MOST_DISTINCT and len(counts) > (rows - nulls) / 2:
        return FeatureReference(name, NOTHING, rows, nulls, says="nearly every row has another text")
    order = sorted(counts.items(), key=lambda pair: (-pair[1], pair[0]))
    named, others = order[:MOST_CATEGORIES], order[MOST_CATEGORIES:]
    each = [*(count for _, count in named), sum(count for _, count in others)]
    return FeatureReference(name, CATEGORY, rows, nulls, categories=[text for text, _ in named], counts=each)


def count(reference: FeatureReference, values: Sequence[Any] | Array) -> Counted:
    """Values counted in the bins of a reference; nothing is refused.

    Args:
        reference: that has bins.
        values: as a log or a table has them.
    """
    if reference.kind == NUMBER:
        numbers, nulls, odd = numbers_of(values)
        counts = np.bincount(np.searchsorted(reference.edges, numbers), minlength=len(reference.counts))
        same = repr(float(numbers[0])) if len(numbers) and (numbers == numbers[0]).all() else ""
        return Counted(len(values), nulls, odd, tuple(counts.tolist()), same=same)
    there = [cell for cell in values if not is_null(cell)]
    rows, nulls = len(values), len(values) - len(there)
    texts = Counter(text_of(cell) for cell in there)
    listed = [texts.get(name, 0) for name in reference.categories]
    known = set(reference.categories)
    unseen = sorted(((n, name) for name, n in texts.items() if name not in known), key=lambda pair: (-pair[0], pair[1]))
    others = sum(n for n, _ in unseen)
    same = next(iter(texts)) if len(texts) == 1 else ""
    return Counted(rows, nulls, 0, (*listed, others), tuple((name, n) for n, name in unseen[:UNSEEN]), same)


def add(parts: Sequence[Counted]) -> Counted:
    """Several parts, at least one, counted in the same bins, as one."""
    unseen: Counter[str] = Counter()
    for part in parts:
        unseen.update(dict(part.unseen))
    sames = {part.same for part in parts if part.rows > part.nulls}
    return Counted(
        sum(part.rows for part in parts),
        sum(part.nulls for part in parts),
        sum(part.odd for part in parts),
        tuple(np.sum([part.counts for part in parts], axis=0).tolist()),
        tuple(sorted(unseen.items(), key=lambda pair: (-pair[1], pair[0]))[:UNSEEN]),
        next(iter(sames)) if len(sames) == 1 else "",
    )


def references_of(features: Mapping[str, Sequence[Any]]) -> list[FeatureReference]:
    """The reference of each feature, by name."""
    return [reference_of(name, values) for name, values in features.items()]


def numbers_of(values: Sequence[Any] | Array) -> tuple[Array, int, int]:
    """The numbers of values, float64; how many there are none, and how many are something else."""
    if isinstance(values, np.ndarray) and values.dtype.kind in "iuf":
        numbers = values.astype(np.float64)
        there = numbers[~np.isnan(numbers)]
        return there, len(numbers) - len(there), 0
    cells = [cell for cell in values if not is_null(cell)]
    numbers = np.array([cell for cell in cells if _is_number(cell)], np.float64)
    return numbers, len(values) - len(cells), len(cells) - len(numbers)


def is_null(cell: Any) -> bool:
    """Whether there is no value; NaN, pandas' NA and NaT are none."""
    if cell is None or (isinstance(cell, float) and math.isnan(cell)):
        return True
    return type(cell).__name__ in ("NAType", "NaTType")


def number_of(cell: Any) -> float:
    """A cell as a number; NaN where it is none."""
    return float(cell) if _is_number(cell) else math.nan


def text_of(cell: Any) -> str:
    """What a category is called; of a whole number that came as a fraction, the whole number."""
    if isinstance(cell, float) and cell.is_integer() and abs(cell) < 2**53:
        return str(int(cell))
    return name_of(cell)


def _is_number(cell: Any) -> bool:
    return isinstance(cell, int | float) and not isinstance(cell, bool) and not _is_huge(cell)


def _is_huge(cell: int | float) -> bool:
    """A whole number that no float holds."""
    return isinstance(cell, int) and abs(cell) > 10**300
