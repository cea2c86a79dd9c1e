"""Why a version's window is not as its training: one test of all features together, features, slices, rows or concept.

The window is the newest one with enough rows. For slices and the split of the change it is the newest one with enough
labels, which may be older; both are told.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, Any

import numpy as np

from airloom.contracts import Record
from airloom.evaluation.slices import chosen
from airloom.monitoring.drift import compare
from airloom.monitoring.drift_reference import NOTHING, NUMBER, FeatureReference, count
from airloom.monitoring.root_cause import (
    LEAST_ROWS,
    ChangeSplit,
    FeatureCause,
    SliceCause,
    rank_features,
    rank_slices,
    split_change,
)
from airloom.monitoring.two_sample import (
    LEAST_ROWS as LEAST_COMPARED,
)
from airloom.monitoring.two_sample import (
    MOST_FEATURES,
    Discriminator,
    Matrix,
    TwoSampleTest,
    matrix,
    sample,
    two_sample_test,
)
from airloom.quality.answer_importance import answer_importance
from airloom.quality.by_label import JoinedRows, joined
from airloom.quality.evaluated import JudgedRows, judged_rows, slices
from airloom.quality.logged_values import COLUMNS, NOT_KEPT, values_of
from airloom.quality.reference import ANSWER, SCORE, VersionReference, reference, trained_on, training_sample
from airloom.quality.window import Window, cut
from airloom.quality.window import milliseconds as span
from airloom.registry import models
from airloom.settings import Settings
from airloom.tracking.tags import Tag

if TYPE_CHECKING:
    from mlflow.entities.model_registry import ModelVersion

HOUR = Window(seconds=3600.0)
Array = np.ndarray[Any, Any]
Values = Mapping[str, Sequence[Any]]


@dataclass(frozen=True)
class Causes(Record):
    """What became of a version's inputs and of its loss, and by what.

    Attributes:
        window: ends of the window that is compared with training, seconds since 1970; [] where there is none.
        test: of all features together.
        features: by drift times importance.
        labelled_window: ends of the window of what follows; [] where none has enough labels.
        loss: what is lost: `error rate` of classes, `absolute error` of numbers.
        slices: of the pipeline file, by what they lost beyond all rows.
        change: of the mean loss, split; None without labels.
        notes: what could not be said, and why.
    """

    window: list[float] = field(default_factory=list)
    test: TwoSampleTest = field(default_factory=TwoSampleTest)
    features: list[FeatureCause] = field(default_factory=list)
    labelled_window: list[float] = field(default_factory=list)
    loss: str = ""
    slices: list[SliceCause] = field(default_factory=list)
    change: ChangeSplit | None = None
    notes: list[str] = field(default_factory=list)


def causes(
    settings: Settings,
    model: str,
    *,
    since: datetime | None = None,
    until: datetime | None = None,
    window: Window = HOUR,
) -> Causes:
    """Look for the causes of a change.

    Args:
        settings: of this installation.
        model: `digits` for its champion, `digits/3`, `digits@canary`.
        since: of the predictions.
        until: the same.
        window: in time or in rows.

    Raises:
        RegistryError: there is no such version.
        DataError: it has no reference.
        ConfigError: `until` is not after `since`.
    """
    first, last = span(since, until)
    version = models.find(settings, model)
    against = reference(settings, version)
    rows = joined(settings, version, COLUMNS, first, last)
    found = _Search(settings, version, against, rows)
    parts = cut(rows.moments, window)
    newest = next((part for part in reversed(parts) if part[1] - part[0] >= LEAST_COMPARED), None)
    labelled = next((part for part in reversed(parts) if found.labels(part[0], part[1]) >= LEAST_ROWS), None)
    return found.told(newest, labelled)


class _Search:
    def __init__(
        self, settings: Settings, version: "ModelVersion", against: VersionReference, rows: JoinedRows
    ) -> None:
        self.settings, self.version, self.rows = settings, version, rows
        self.references = [one for one in against.features if one.kind != NOTHING]
        self.values, notes = values_of(rows.rows, against, version)
        self.notes = list(notes)
        self.test: JudgedRows | None = None
        self.snapshot = trained_on(settings, version)
        judged = judged_rows(settings, version, self.snapshot)
        if isinstance(judged, str):
            self.notes.append(judged)
        else:
            self.test = judged
        self.against = against

    def labels(self, low: int, high: int) -> int:
        return sum(pair is not None for pair in self.rows.pairs[low:high])

    def told(self, newest: Any, labelled: Any) -> Causes:
        found = Causes()
        if newest is None:
            says = f"no window has {LEAST_COMPARED} rows"
            found = found.with_(test=TwoSampleTest(says=says))
        else:
            test, features = self._features(newest[0], newest[1])
            found = found.with_(window=list(newest[2]), test=test, features=features)
        if labelled is None:
            self.notes.append(f"slices and the parts of the loss are not told: no window has {LEAST_ROWS} labels")
        elif self.test is not None:
            loss = "absolute error" if self.test.numbers else "error rate"
            parts, change = self._losses(self.test, labelled[0], labelled[1])
            found = found.with_(labelled_window=list(labelled[2]), loss=loss, slices=parts, change=change)
        return found.with_(notes=list(dict.fromkeys(self.notes)))

    def _features(self, low: int, high: int) -> tuple[TwoSampleTest, list[FeatureCause]]:
        """The test of all features together, and the features by drift times importance."""
        values = _kept(self.values, low, high)
        counted = {one.name: count(one, values[one.name]) for one in self.references if one.name in values}
        there = [one for one in self.references if one.name in counted]
        psi = {one.name: one.psi for one in compare(there, counted) if not one.says}
        there = [one for one in there if one.name in psi]
        if len(there) > MOST_FEATURES:
            most = sorted(psi, key=lambda name: (-psi[name], name))[:MOST_FEATURES]
            self.notes.append(f"of {len(there)} features the {MOST_FEATURES} that moved most are looked at together")
            there = [one for one in there if one.name in most]
        if not there:
            return two_sample_test(matrix([], {}), matrix([], {})), []
        training = matrix(there, training_sample(self.settings, self.snapshot))
        test = two_sample_test(training, _sampled(matrix(there, values)))
        answers = dict[str, float]()
        if self.test is not None:
            answers = answer_importance(matrix(there, self.test.values), self.test.answers, self.test.numbers)
        looked = {one.name: psi[one.name] for one in there}
        return test, rank_features(looked, test.importance or dict.fromkeys(looked, 1.0), answers)

    def _losses(self, test: JudgedRows, low: int, high: int) -> tuple[list[SliceCause], ChangeSplit]:
        """The slices of the pipeline file by their part in the loss, and the change of the loss in two parts."""
        places = [place for place in range(low, high) if self.rows.pairs[place] is not None]
        inputs = [column for name, column in self.values.items() if name not in (ANSWER, SCORE)]
        known = [place for place in places if all(column[place] is not NOT_KEPT for column in inputs)]
        places = known if len(known) >= LEAST_ROWS else places
        pairs = [pair for place in places if (pair := self.rows.pairs[place])]
        after = np.array([abs(a - b) if test.numbers else a != b for a, b in pairs], np.float64)
        values = {name: [column[place] for place in places] for name, column in self.values.items()}
        whole = {name: cells for name, cells in values.items() if not any(cell is NOT_KEPT for cell in cells)}
        parts = self._slices(whole, [pair[0] for pair in pairs], test.label)
        return rank_slices(test.loss, after, test.slices, parts), self._split(test, whole, after)

    def _slices(self, values: Values, labels: Sequence[Any], label: str) -> dict[str, Array]:
        import pandas as pd

        asked = slices(self.settings, self.version.tags.get(Tag.RUN, ""))
        kinds = {one.name: one for one in self.references}
        frame = pd.DataFrame(
            {name: _cells(kinds.get(name), cells) for name, cells in values.items() if name not in (ANSWER, SCORE)}
            | {label: pd.Series(labels, dtype=object)}
        )
        masks = dict[str, Array]()
        for name, part in asked.items():
            if part.tag is not None:
                self.notes.append(f"slice {name}: the log does not know tags of commits")
            elif part.column is not None and part.column not in frame.columns:
                self.notes.append(f"slice {name}: the log keeps no {part.column!r} of these rows")
            else:
                masks[name] = chosen(name, part, frame, label, self.against.dataset)
        return masks

    def _split(self, test: JudgedRows, values: Values, after: Array) -> ChangeSplit:
        there = [one for one in self.references if one.name in values and one.name in test.values]
        nothing = ChangeSplit(float(test.loss.mean()), float(after.mean()))
        if not there:
            return nothing.with_(says="the log keeps no feature of these rows")
        if len(test.loss) < LEAST_ROWS:
            return nothing.with_(says=f"{len(test.loss)} test rows, fewer than {LEAST_ROWS}")
        before, now = matrix(there, test.values), matrix(there, values)
        of_test, of_window = sample(len(before.cells)), sample(len(now.cells))
        weights = Discriminator(before.take(of_test), now.take(of_window)).weights()
        return split_change(test.loss[of_test], after[of_window], weights)


def _kept(values: Values, low: int, high: int) -> dict[str, list[Any]]:
    """The values of a window's rows of which inputs were kept; features that too few have are left out."""
    columns = {name: column[low:high] for name, column in values.items() if name not in (ANSWER, SCORE)}
    rows = [place for place in range(high - low) if all(one[place] is not NOT_KEPT for one in columns.values())]
    return {name: [column[place] for place in rows] for name, column in columns.items()} if rows else {}


def _sampled(rows: Matrix) -> Matrix:
    return rows.take(sample(len(rows.cells)))


def _cells(reference: FeatureReference | None, cells: Sequence[Any]) -> Any:
    import pandas as pd

    if reference is not None and reference.kind == NUMBER:
        return pd.to_numeric(pd.Series(cells, dtype=object), errors="coerce")
    return pd.Series(cells, dtype=object)
