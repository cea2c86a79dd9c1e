"""Drift of a model version in service: windows of the prediction log against what it was trained on.

It explains. What acts are measured metrics (`by_label`) and data faults; these stand first.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import numpy as np

from airloom.contracts import Record
from airloom.monitoring import log_columns
from airloom.monitoring.data_faults import LEAST_ROWS, fault
from airloom.monitoring.drift import DriftRule, FeatureDrift, compare, in_a_row
from airloom.monitoring.drift_reference import NOTHING, Counted, FeatureReference, count
from airloom.monitoring.prediction_id import milliseconds
from airloom.names import shown_model
from airloom.quality.logged_values import COLUMNS, NOT_KEPT, values_of
from airloom.quality.reference import ANSWER, SCORE, reference
from airloom.quality.window import Window, cut, shown_moment
from airloom.quality.window import milliseconds as span
from airloom.registry import models
from airloom.settings import Settings

FAULT, DRIFT, STEADY, SILENT = "data fault", "drift", "steady", "nothing to say"
HOUR = Window(seconds=3600.0)


@dataclass(frozen=True)
class DriftWindow(Record):
    """One window: its ends in seconds since 1970, each feature, and by feature what is wrong with the data."""

    start: float
    end: float
    rows: int
    features: list[FeatureDrift]
    faults: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class RankedFeature(Record):
    """A feature over all windows, its numbers of the newest one in which something is said of it.

    Attributes:
        name: of the feature.
        verdict: `data fault`, `drift`, `steady` or `nothing to say`.
        psi: population stability index.
        ks: Kolmogorov-Smirnov distance; 0 of categories.
        adjusted: corrected p-value.
        moved: in how many windows it moved.
        windows: in how many something is said of it.
        drifted: seconds since 1970: the end of the first window at which it had moved long enough; 0: never.
        says: what is wrong, or why there is nothing to say.
    """

    name: str
    verdict: str
    psi: float = 0.0
    ks: float = 0.0
    adjusted: float = 1.0
    moved: int = 0
    windows: int = 0
    drifted: float = 0.0
    says: str = ""


@dataclass(frozen=True)
class DriftReport(Record):
    """What became of a version's inputs and answers.

    Attributes:
        model: as a person names it.
        version: its number.
        headline: the first line: a data fault is told before any drift.
        verdict: `data fault`, `drift`, `steady` or `nothing to say`.
        reference: digest of what it is compared with.
        dataset: that it was trained on.
        rows: of the log.
        window: its length.
        rule: when a feature moved.
        features: faults first, then by drift.
        windows: oldest first.
        notes: what could not be compared, and why.
    """

    model: str
    version: str
    headline: str
    verdict: str
    reference: str
    dataset: str
    rows: int
    window: str
    rule: DriftRule
    features: list[RankedFeature]
    windows: list[DriftWindow]
    notes: list[str]


@dataclass(frozen=True)
class Analysis:
    """A report, and what its pictures are drawn of: the references and the newest window's counts, by feature."""

    report: DriftReport
    references: dict[str, FeatureReference]
    newest: dict[str, Counted]


def analyse(
    settings: Settings,
    model: str,
    *,
    since: datetime | None = None,
    until: datetime | None = None,
    window: Window = HOUR,
    rule: DriftRule | None = None,
) -> Analysis:
    """Compare what a version was asked and answered with its training.

    Args:
        settings: of this installation.
        model: `digits` for its champion, `digits/3`, `digits@canary`.
        since: of the predictions.
        until: the same.
        window: in time or in rows.
        rule: when a feature moved.

    Raises:
        RegistryError: there is no such version.
        DataError: it has no reference.
        ConfigError: `until` is not after `since`.
    """
    first, last = span(since, until)
    limits = rule or DriftRule()
    version = models.find(settings, model)
    against = reference(settings, version)
    rows = log_columns.table(settings, version.name, COLUMNS, version=str(version.version), first=first, last=last)
    values, notes = values_of(rows, against, version)
    references = {one.name: one for one in [*against.features, *against.answers]}
    moments = np.array([milliseconds(identity) / 1000 for identity in rows["id"].to_pylist()])
    windows, newest = [], dict[str, Counted]()
    for low, high, ends in cut(moments, window):
        cells = {name: [one for one in column[low:high] if one is not NOT_KEPT] for name, column in values.items()}
        compared = _window(references, cells, limits)
        windows.append(DriftWindow(*ends, high - low, *compared[1:]))
        if high - low >= LEAST_ROWS or not newest:
            newest = compared[0]
    ranked = _ranked(list(references), windows, limits)
    verdict, headline = _headline(ranked, rows.num_rows)
    report = DriftReport(
        model=shown_model(version.name, settings.installation),
        version=str(version.version),
        headline=headline,
        verdict=verdict,
        reference=against.digest,
        dataset=against.dataset,
        rows=rows.num_rows,
        window=str(window),
        rule=limits,
        features=ranked,
        windows=windows,
        notes=[*against.notes, *notes],
    )
    return Analysis(report, references, newest)


def _window(
    references: Mapping[str, FeatureReference], values: Mapping[str, Sequence[Any]], rule: DriftRule
) -> tuple[dict[str, Counted], list[FeatureDrift], dict[str, str]]:
    counted = {
        name: count(references[name], cells) for name, cells in values.items() if references[name].kind != NOTHING
    }
    faults = {}
    for name, one in counted.items():
        # A class that the model never answered on its test rows is no fault of the data.
        if name not in (ANSWER, SCORE) and (problem := fault(references[name], one, values[name])):
            faults[name] = problem
    return counted, compare(list(references.values()), counted, rule), faults


def _ranked(names: Sequence[str], windows: Sequence[DriftWindow], rule: DriftRule) -> list[RankedFeature]:
    """Faults first, then what drifts now, then the others; each by its index."""
    order = [FAULT, DRIFT, STEADY, SILENT]
    ranked = [_feature(place, name, windows, rule) for place, name in enumerate(names)]
    return sorted(ranked, key=lambda one: (order.index(one.verdict), -one.psi, one.name))


def _feature(place: int, name: str, windows: Sequence[DriftWindow], rule: DriftRule) -> RankedFeature:
    each = [window.features[place] for window in windows]
    told = [one for one in each if not one.says]
    problem = next((w.faults.get(name, "") for w in reversed(windows) if w.rows >= LEAST_ROWS), "")
    if not told:
        says = problem or (each[-1].says if each else "there is no row in the log")
        return RankedFeature(name, FAULT if problem else SILENT, says=says)
    first = in_a_row([None if one.says else one.moved for one in each], rule.windows)
    now = len(told) >= rule.windows and all(one.moved for one in told[-rule.windows :])
    came_back = "it drifted, and came back" if first >= 0 and not now else ""
    return RankedFeature(
        name,
        FAULT if problem else DRIFT if now else STEADY,
        told[-1].psi,
        told[-1].ks,
        told[-1].adjusted,
        sum(one.moved for one in told),
        len(told),
        windows[first].end if first >= 0 else 0.0,
        problem or came_back,
    )


def _headline(features: Sequence[RankedFeature], rows: int) -> tuple[str, str]:
    faults, drifting, told = ([f for f in features if f.verdict == v] for v in (FAULT, DRIFT, STEADY))
    if faults:
        more = f", and {len(faults) - 1} more" if len(faults) > 1 else ""
        return FAULT, f"DATA FAULT, for whoever sends the data: {faults[0].name} {faults[0].says}{more}"
    if drifting:
        some = ", ".join(f"{one.name} (PSI {one.psi:.2f})" for one in drifting[:3])
        since = shown_moment(min(one.drifted for one in drifting))
        return DRIFT, f"DRIFT in {len(drifting)} of {len(drifting) + len(told)} features since {since}: {some}"
    if told:
        return STEADY, f"no drift in {len(told)} feature{'s' if len(told) > 1 else ''}"
    reason = features[0].says if features else "it has no feature to compare"
    return SILENT, f"nothing to say: {reason}" if rows else "nothing to say: there is no row in the log"
