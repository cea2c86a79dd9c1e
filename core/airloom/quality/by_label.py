"""What late labels say of a model's versions: metrics by window, how late labels come, where they contradict.

A label is joined with its row of the prediction log when it is asked for, so that what comes later completes windows
that are long past. The metrics are the task's own where the log holds enough for them: the answer of a class or one
number. A log loss it does not hold.
"""

import json
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, Any

import numpy as np

from airloom.contracts import Record
from airloom.monitoring import labels, log_columns
from airloom.monitoring.label_rule import Label, canonical, check_rule, contradict, corrected, counting
from airloom.monitoring.labels import INPUT, REQUEST
from airloom.monitoring.prediction_id import milliseconds, short_hash
from airloom.names import ModelName, shown_model
from airloom.quality.label_metrics import metrics_of
from airloom.quality.window import Window, cut
from airloom.quality.window import milliseconds as span
from airloom.registry import models
from airloom.settings import Settings
from airloom.tasks import Classification, Regression, Task
from airloom.tracking.tags import Tag

if TYPE_CHECKING:
    import pyarrow as pa
    from mlflow.entities.model_registry import ModelVersion

SHOWN = 3
BOOLEANS = {"True": "true", "False": "false"}  # as the log writes them, and as a class is called
DAY = Window(seconds=86_400.0)


@dataclass(frozen=True)
class MeasuredWindow(Record):
    """Metrics of the predictions of one window, by the labels that came until now.

    Attributes:
        start: seconds since 1970 of the window, or of its first prediction.
        end: of the window, or of its last prediction.
        rows: predictions in the log.
        labelled: those with a label that counts.
        metrics: of these; empty where none can be measured.
        interval: 95 % of the first metric; empty where there is none.
    """

    start: float
    end: float
    rows: int
    labelled: int
    metrics: dict[str, float] = field(default_factory=dict)
    interval: list[float] = field(default_factory=list)


@dataclass(frozen=True)
class LabelledVersion(Record):
    """What labels say of one version.

    Attributes:
        model: as a person names it.
        version: its number.
        task: `classification`, `regression`, or "" where the log holds too little for a metric.
        rows: predictions in the log.
        labelled: those with a label that counts.
        waiting: labelled predictions without a row in the log: sampled away, collected, or not there yet.
        ambiguous: labels by the id of a request of several rows, which say of none of them.
        unscored: labels that count but are of another kind than the answers.
        contradicted: predictions of which two sources say different things.
        contradicted_first: the first of these.
        corrected: predictions of which a source has said something else before.
        undecided: those of which the rule says that no label counts.
        early: labels that were known before their prediction: a clock is wrong, or it is no ground truth.
        lag: seconds from prediction to label: `median`, `p90`, `longest`.
        sources: labels of each.
        all: metrics of all windows together.
        windows: oldest first.
    """

    model: str
    version: str
    task: str
    rows: int
    labelled: int
    waiting: int
    ambiguous: int
    unscored: int
    contradicted: int
    contradicted_first: list[str]
    corrected: int
    undecided: int
    early: int
    lag: dict[str, float]
    sources: dict[str, int]
    all: MeasuredWindow
    windows: list[MeasuredWindow]

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> "LabelledVersion":
        """Rebuild the windows too."""
        windows = [MeasuredWindow.from_dict(one) for one in values["windows"]]
        return cls(**values | {"all": MeasuredWindow.from_dict(values["all"]), "windows": windows})


def measure(
    settings: Settings,
    model: str,
    *,
    since: datetime | None = None,
    until: datetime | None = None,
    window: Window = DAY,
    rule: str = "newest",
) -> list[LabelledVersion]:
    """Metrics by label of a version, or of all of a model that have predictions or labels, the newest first.

    Args:
        settings: of this installation.
        model: `digits`, `digits/3` or `digits@champion`.
        since: of the predictions, not of the labels.
        until: the same.
        window: in time or in rows.
        rule: which of several labels counts, see `label_rule.counting`.

    Raises:
        RegistryError: there is no such model or version.
        ConfigError: there is no such rule, or `until` is not after `since`.
    """
    check_rule(rule)
    first, last = span(since, until)
    versions = versions_of(settings, model)
    name = versions[0].name
    keyed = labels.of_model(settings.database_address, name)
    trust = labels.trusted(settings.database_address)
    found = []
    for version in versions:
        number = str(version.version)
        rows = log_columns.table(settings, name, _columns(keyed), version=number, first=first, last=last)
        hashes = [short_hash(name, number)]
        own = labels.of_versions(settings.database_address, hashes, first / 1000, last / 1000)
        if rows.num_rows or own or len(versions) == 1:
            found.append(_Joined(rows, own, keyed, trust, rule).measured(settings, version, window))
    return found


@dataclass(frozen=True)
class JoinedRows:
    """Rows of one version in the log, oldest first.

    Attributes:
        rows: of the log.
        moments: seconds since 1970 of each.
        pairs: label and answer of each as its task compares them; None where there are not both.
        labels: of each the one that counts; None where there is none.
    """

    rows: "pa.Table"
    moments: "np.ndarray[Any, Any]"
    pairs: list[tuple[Any, Any] | None]
    labels: list[Label | None]


def joined(
    settings: Settings, version: "ModelVersion", columns: Sequence[str], first: int, last: int, rule: str = "newest"
) -> JoinedRows:
    """The rows of a version with the label of each that counts.

    Args:
        settings: of this installation.
        version: whose.
        columns: of the log that are wanted.
        first: milliseconds since 1970.
        last: the first that is too late.
        rule: which of several labels counts.
    """
    name, number = version.name, str(version.version)
    keyed = labels.of_model(settings.database_address, name)
    wanted = list(dict.fromkeys([*columns, *_columns(keyed)]))
    rows = log_columns.table(settings, name, wanted, version=number, first=first, last=last)
    own = labels.of_versions(settings.database_address, [short_hash(name, number)], first / 1000, last / 1000)
    join = _Joined(rows, own, keyed, labels.trusted(settings.database_address), rule)
    task = task_of(version)
    return JoinedRows(rows, join.moments, [join.pair(place, task) for place in range(rows.num_rows)], join.labels)


def labelled_rows(
    settings: Settings, version: "ModelVersion", columns: Sequence[str], first: int, last: int
) -> tuple["pa.Table", list[Label]]:
    """The rows of the log whose label counts, and that label, row by row.

    Args:
        settings: of this installation.
        version: of the model.
        columns: of the log, beside the id.
        first: milliseconds since 1970, of the predictions.
        last: the same, too late already.
    """
    import pyarrow as pa

    found = joined(settings, version, columns, first, last)
    there = [place for place, label in enumerate(found.labels) if label is not None]
    return found.rows.take(pa.array(there, pa.int64())), [label for label in found.labels if label is not None]


def versions_of(settings: Settings, model: str) -> "list[ModelVersion]":
    """The version that a name tells, or all of a model, the newest first.

    Raises:
        RegistryError: there is none.
    """
    asked = ModelName.match(model)
    if asked and not asked.version and not asked.alias:
        versions = models.list_versions(settings, settings.registered(asked.name))
        if versions:
            return versions
    return [models.find(settings, model)]


def task_of(version: "ModelVersion") -> Task | None:
    """The task of whose answers the log holds enough; None for any other."""
    names = set(json.loads(version.tags.get(Tag.METRICS, "{}")))
    return Classification() if "accuracy" in names else Regression() if "mae" in names else None


def _columns(keyed: Sequence[Label]) -> list[str]:
    ways = {label.by for label in keyed}
    more = ["inputs"] if any(way.startswith(INPUT) for way in ways) else []
    return ["prediction", "value", *(["request", "rows"] if REQUEST in ways else []), *more]


class _Joined:
    """Rows of the log with the label of each that counts."""

    def __init__(
        self, rows: "pa.Table", own: Sequence[Label], keyed: Sequence[Label], trust: Mapping[str, int], rule: str
    ) -> None:
        self.ids: list[str] = rows["id"].to_pylist()
        self.moments = np.array([milliseconds(identity) / 1000 for identity in self.ids])
        self.ambiguous = 0
        said: dict[str, list[Label]] = defaultdict(list)
        for label in own:
            said[label.subject].append(label)
        for identity, label in self._by_key(rows, keyed):
            said[identity].append(label)
        self.said = said
        there = set(self.ids)
        self.waiting = len(said.keys() - there)
        chosen = {identity: counting(each, trust, rule) for identity, each in said.items()}
        self.undecided = sum(label is None for label in chosen.values())
        self.labels = [chosen.get(identity) for identity in self.ids]
        self.answers = rows["prediction"].to_pylist() if "prediction" in rows.column_names else []
        self.values = rows["value"].to_pylist() if "value" in rows.column_names else [None] * len(self.ids)

    def _by_key(self, rows: "pa.Table", keyed: Sequence[Label]) -> list[tuple[str, Label]]:
        """The labels by a key of one's own, each with the id of a row that has the key."""
        by_way: dict[str, dict[str, list[Label]]] = defaultdict(lambda: defaultdict(list))
        for label in keyed:
            by_way[label.by][label.subject].append(label)
        pairs = []
        for way, labelled in by_way.items():
            for place, key in enumerate(_keys(rows, way)):
                for label in labelled.get(key, ()) if key else ():
                    if way == REQUEST and rows["rows"][place].as_py() != 1:
                        self.ambiguous += 1
                    else:
                        pairs.append((self.ids[place], label))
        return pairs

    def measured(self, settings: Settings, version: "ModelVersion", window: Window) -> LabelledVersion:
        task = task_of(version)
        scored = [self.pair(place, task) for place in range(len(self.ids))]
        pairs = [(place, pair) for place, pair in enumerate(scored) if pair]
        each = [label for labels_ in self.said.values() for label in labels_]
        clashing = sorted(identity for identity, labels_ in self.said.items() if contradict(labels_))
        lags = [
            (label.found - milliseconds(identity) / 1000)
            for identity, labels_ in self.said.items()
            for label in (min(labels_, key=lambda one: one.found),)
        ]
        counted = sum(label is not None for label in self.labels)
        return LabelledVersion(
            model=shown_model(version.name, settings.installation),
            version=str(version.version),
            task=task.name if task else "",
            rows=len(self.ids),
            labelled=counted,
            waiting=self.waiting,
            ambiguous=self.ambiguous,
            unscored=counted - len(pairs),
            contradicted=len(clashing),
            contradicted_first=clashing[:SHOWN],
            corrected=sum(corrected(labels_) for labels_ in self.said.values()),
            undecided=self.undecided,
            early=sum(lag < 0 for lag in lags),
            lag=_lag(lags),
            sources=dict(sorted(Counter(label.source for label in each).items())),
            all=self._window(task, range(len(self.ids)), scored, self._ends()),
            windows=[
                self._window(task, range(low, high), scored, ends) for low, high, ends in cut(self.moments, window)
            ],
        )

    def _ends(self) -> tuple[float, float]:
        return (float(self.moments[0]), float(self.moments[-1])) if len(self.moments) else (0.0, 0.0)

    def pair(self, place: int, task: Task | None) -> tuple[Any, Any] | None:
        """Label and answer as the task compares them; None where there are not both."""
        label, value = self.labels[place], self.values[place]
        if label is None or task is None:
            return None
        if isinstance(task, Classification):
            answer = self.answers[place]
            return label.text, BOOLEANS.get(answer, answer) if value is not None else answer
        number = _number(label.text)
        return None if number is None or value is None else (number, float(value))

    def _window(
        self, task: Task | None, places: range, scored: Sequence[tuple[Any, Any] | None], ends: tuple[float, float]
    ) -> MeasuredWindow:
        labelled = sum(self.labels[place] is not None for place in places)
        pairs = [pair for place in places if (pair := scored[place])]
        metrics, interval = metrics_of(task, pairs) if task and pairs else ({}, [])
        return MeasuredWindow(*ends, len(places), labelled, metrics, interval)


def _keys(rows: "pa.Table", way: str) -> list[str]:
    """The key of each row; "" where it has none."""
    name = "request" if way == REQUEST else "inputs"
    if name not in rows.column_names:
        return []
    cells = rows[name].to_pylist()
    return (
        [cell or "" for cell in cells] if way == REQUEST else [_key_in(cell, way.removeprefix(INPUT)) for cell in cells]
    )


def _key_in(inputs: str | None, column: str) -> str:
    try:
        return canonical(json.loads(inputs)[column]) if inputs else ""
    except (ValueError, KeyError, TypeError):  # the row was logged without the column
        return ""


def _number(text: str) -> float | None:
    try:
        number = float(text)
    except ValueError:
        return None
    return number if np.isfinite(number) else None


def _lag(seconds: Sequence[float]) -> dict[str, float]:
    if not seconds:
        return {}
    median, high = np.quantile(seconds, [0.5, 0.9])
    return {"median": float(median), "p90": float(high), "longest": float(max(seconds))}
