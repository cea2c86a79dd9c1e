"""Where a change comes from: which features, which parts of the rows, the rows themselves or what they mean. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from airloom.contracts import Record

LEAST_ROWS = 100  # with a label
LEAST_EFFECTIVE = 50  # rows that a weighted mean must be worth
DRAWS = 400
Array = np.ndarray[Any, Any]


@dataclass(frozen=True)
class FeatureCause(Record):
    """A feature that may be the cause.

    Attributes:
        name: of the feature.
        weight: drift times importance, of all features' together: from 0 to 1.
        psi: how far it moved.
        importance: its share, from 0 to 1: the mean of the two below, or the first where there is no second.
        separates: its share in telling window and training apart.
        answers: its share in the version's answers; -1: not known.
    """

    name: str
    weight: float
    psi: float
    importance: float
    separates: float
    answers: float = -1.0


def rank_features(
    psi: Mapping[str, float], separates: Mapping[str, float], answers: Mapping[str, float]
) -> list[FeatureCause]:
    """Features by drift times importance, the first one first.

    Args:
        psi: how far each moved.
        separates: how important it is to tell the window from training.
        answers: how important it is for the version's answers; empty where that is not known.
    """
    apart, said = _shares(separates), _shares(answers)
    found = []
    for name, moved in psi.items():
        one, other = apart.get(name, 0.0), said.get(name, 0.0)
        importance = (one + other) / 2 if said else one
        found.append(FeatureCause(name, moved * importance, moved, importance, one, other if said else -1.0))
    total = sum(one.weight for one in found) or 1.0
    ranked = [one.with_(weight=one.weight / total) for one in found]
    return sorted(ranked, key=lambda one: (-one.weight, -one.psi, one.name))


def _shares(importance: Mapping[str, float]) -> dict[str, float]:
    total = sum(importance.values())
    return {name: value / total for name, value in importance.items()} if total > 0 else {}


@dataclass(frozen=True)
class SliceCause(Record):
    """A part of the rows, and its part in the change of the loss.

    Attributes:
        name: of the slice.
        rows: of the window with a label.
        share: of the window's rows.
        share_before: of the test rows.
        loss: mean loss of its rows in the window.
        loss_before: of its test rows.
        part: of the change of the whole loss that lies in it: its share times its loss, now less then.
        excess: what it lost beyond what all rows lost, times its share: by this slices are ranked.
    """

    name: str
    rows: int
    share: float
    share_before: float
    loss: float
    loss_before: float
    part: float
    excess: float


def rank_slices(
    before: Array, after: Array, parts_before: Mapping[str, Array], parts: Mapping[str, Array]
) -> list[SliceCause]:
    """Slices by what they lost beyond all others. Those without a row on one side are left out.

    Args:
        before: the loss of each test row.
        after: the loss of each row of the window.
        parts_before: which test rows belong to a slice, bool by name.
        parts: which rows of the window do.
    """
    change, found = float(after.mean() - before.mean()), []
    for name, mask in parts.items():
        of_before = parts_before.get(name)
        if of_before is None or not mask.any() or not of_before.any():
            continue
        share, share_before = float(mask.mean()), float(of_before.mean())
        loss, loss_before = float(after[mask].mean()), float(before[of_before].mean())
        part = share * loss - share_before * loss_before
        excess = share * (loss - loss_before - change)
        found.append(SliceCause(name, int(mask.sum()), share, share_before, loss, loss_before, part, excess))
    return sorted(found, key=lambda one: (-one.excess, one.name))


@dataclass(frozen=True)
class ChangeSplit(Record):
    """The change of the mean loss from test rows to window, in two parts that add up to it.

    Attributes:
        before: of the test rows.
        after: of the window's labelled rows.
        covariate: by other rows: the loss that the test rows would have had, were such rows as frequent as now, less
            `before`.
        covariate_interval: 95 % of that.
        concept: the rest: rows alike have another loss than they had. What no feature shows is here too.
        concept_interval: the same.
        effective: how many test rows the weighted ones are worth.
        says: why there is nothing to say; empty where there is.
    """

    before: float
    after: float
    covariate: float = 0.0
    covariate_interval: tuple[float, float] = (0.0, 0.0)
    concept: float = 0.0
    concept_interval: tuple[float, float] = (0.0, 0.0)
    effective: float = 0.0
    says: str = ""


def split_change(before: Array, after: Array, weights: Array, seed: int = 0) -> ChangeSplit:
    """Split the change of a mean loss by importance weighting.

    Args:
        before: the loss of each test row.
        after: the loss of each row of the window, with a label.
        weights: of each test row, how much more frequent such rows are in the window.
        seed: of the resamples, in which the weights stay.
    """
    effective = float(weights.sum() ** 2 / (weights**2).sum())
    whole = ChangeSplit(float(before.mean()), float(after.mean()), effective=effective)
    if effective < LEAST_EFFECTIVE:
        says = f"of the test rows too few are as the window's: they are worth {effective:.0f} rows"
        return whole.with_(says=says)
    generator = np.random.default_rng(seed)
    covariate, concept = np.zeros(DRAWS), np.zeros(DRAWS)
    for draw in range(DRAWS):
        some = generator.integers(0, len(before), len(before))
        now = after[generator.integers(0, len(after), len(after))].mean()
        weighted = np.average(before[some], weights=weights[some])
        covariate[draw], concept[draw] = weighted - before[some].mean(), now - weighted
    expected = float(np.average(before, weights=weights))
    return whole.with_(
        covariate=expected - whole.before,
        covariate_interval=_interval(covariate),
        concept=whole.after - expected,
        concept_interval=_interval(concept),
    )


def _interval(values: Array) -> tuple[float, float]:
    low, high = np.quantile(values, [0.025, 0.975])
    return float(low), float(high)
