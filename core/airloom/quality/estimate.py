"""How good a version's answers are expected to be before any label is there, and whether such estimates were right.

Of classes: the accuracy that the logged scores promise (`monitoring/confidence.py`). Of numbers nothing is estimated.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, Any

import numpy as np

from airloom.contracts import Record
from airloom.errors import AirloomError
from airloom.monitoring.confidence import LEAST_ROWS, Calibration, Estimator, Expected, PastEstimates, calibrate, judge
from airloom.names import shown_model
from airloom.quality.by_label import JoinedRows, joined, task_of
from airloom.quality.evaluated import answer_scores, test_rows
from airloom.quality.window import Window, cut
from airloom.quality.window import milliseconds as span
from airloom.registry import models
from airloom.settings import Settings
from airloom.tasks import Classification
from airloom.tracking.tags import Tag

if TYPE_CHECKING:
    from mlflow.entities.model_registry import ModelVersion

METRIC = "accuracy"
ASSUMPTION = "answers with equal scores are right as often as in the test split: no concept drift"
MARGIN = 0.02  # by so much at least the whole interval lies below the baseline, before the version is called worse
PAST = 90 * 86_400_000  # milliseconds before the span whose estimates are compared with labels
HOUR = Window(seconds=3600.0)


@dataclass(frozen=True)
class Estimate(Record):
    """What is expected of the answers of one window.

    Attributes:
        metric: `accuracy`.
        value: of it.
        low: the metric of these rows, once it is measured, lies above this in 97.5 % of such windows.
        high: below this.
        rows: with a score.
        baseline: the metric at training: of the test rows of the version's evaluation.
        trusted: whether it has the right to trigger: past intervals missed no more often than stated.
        why: it has, or has not.
        worse: whether the version is expected to be worse than its baseline, by `MARGIN` at least, at 97.5 %.
        start: seconds since 1970 of the window, or of its first prediction.
        end: of the window, or of its last prediction.
        measured: the metric of those rows that have a label by now; None where they are too few.
        labelled: how many these are.
    """

    metric: str
    value: float
    low: float
    high: float
    rows: int
    baseline: float
    trusted: bool
    why: str
    worse: bool = False
    start: float = 0.0
    end: float = 0.0
    measured: float | None = None
    labelled: int = 0


@dataclass(frozen=True)
class EstimatedVersion(Record):
    """The estimates of one version.

    Attributes:
        model: as a person names it.
        version: its number.
        why: nothing is estimated; empty where something is.
        assumption: without which no estimate holds.
        baseline: the metric at training.
        past: how estimates did where labels came.
        windows: with enough scores, oldest first.
    """

    model: str
    version: str
    why: str = ""
    assumption: str = ASSUMPTION
    baseline: float = 0.0
    past: PastEstimates = field(default_factory=PastEstimates)
    windows: list[Estimate] = field(default_factory=list)

    @property
    def newest(self) -> Estimate | None:
        """That of the newest window; None where nothing is estimated."""
        return self.windows[-1] if self.windows else None

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> "EstimatedVersion":
        """Rebuild what it holds too."""
        windows = [Estimate.from_dict(one) for one in values["windows"]]
        return cls(**values | {"past": PastEstimates.from_dict(values["past"]), "windows": windows})


def estimate(
    settings: Settings,
    model: str,
    *,
    since: datetime | None = None,
    until: datetime | None = None,
    window: Window = HOUR,
) -> EstimatedVersion:
    """Estimate a version's accuracy by window, and compare the estimates of the last 90 days with labels that came.

    Args:
        settings: of this installation.
        model: `digits` for its champion, `digits/3`, `digits@canary`.
        since: of the predictions.
        until: the same.
        window: in time or in rows.

    Raises:
        RegistryError: there is no such version.
        ConfigError: `until` is not after `since`.
    """
    first, last = span(since, until)
    version = models.find(settings, model)
    nothing = EstimatedVersion(shown_model(version.name, settings.installation), str(version.version))
    calibration, why = _calibration(settings, version)
    if calibration is None:
        return nothing.with_(why=why)
    from_ = max(0, first - PAST) if since else 0
    found = joined(settings, version, ["score"], from_, last)
    scores = _scores(found)
    if not np.isfinite(scores).any():
        return nothing.with_(why=_without_scores(found.rows.num_rows), baseline=calibration.accuracy)
    estimator = Estimator(calibration)
    drafts, checked = list[_Draft](), list[tuple[Expected, float]]()
    for low, high, ends in cut(found.moments, window):
        draft = _of_window(estimator, scores[low:high], found.pairs[low:high], ends)
        if draft is not None:
            drafts.append(draft)
            checked += draft.checked
    past = judge(checked)
    shown = [one for one in drafts if not since or one.ends[1] > first / 1000]
    why = "" if shown else f"no window has {LEAST_ROWS} answers with a score"
    windows = [one.estimate(calibration.accuracy, past) for one in shown]
    return nothing.with_(why=why, baseline=calibration.accuracy, past=past, windows=windows)


def _calibration(settings: Settings, version: "ModelVersion") -> tuple[Calibration | None, str]:
    """How often the version's answers to its test rows were right, by score; or why nobody knows."""
    task = task_of(version)
    if not isinstance(task, Classification):
        what = "an answer that is a number says nothing of its own error" if task else "its answers are no classes"
        return None, f"nothing is estimated: {what}"
    try:
        rows = test_rows(settings, version.tags.get(Tag.RUN, ""))
    except AirloomError as error:
        return None, f"nothing is estimated: {error.message}"
    answers = rows.candidate
    probabilities = answer_scores(answers)
    if probabilities is None:
        return None, "nothing is estimated: its evaluation, of an earlier release, kept no probabilities"
    if len(rows) < LEAST_ROWS:
        return None, f"nothing is estimated: its evaluation had {len(rows)} test rows, fewer than {LEAST_ROWS}"
    # As float32, as the log has them: a bin's edge must lie on the same side of both.
    scores = probabilities.astype(np.float32)
    return calibrate(scores.astype(np.float64), answers.predicted == rows.label), ""


def _scores(found: JoinedRows) -> "np.ndarray[Any, Any]":
    """Of each row; NaN where the log has none."""
    if "score" not in found.rows.column_names:
        return np.full(found.rows.num_rows, np.nan)
    return np.asarray(found.rows["score"].to_numpy(), np.float64)


def _without_scores(rows: int) -> str:
    if not rows:
        return "nothing is estimated: there is no row in the log"
    return (
        f"nothing is estimated: none of its {rows:,} rows in the log has a score, as the server of an earlier release "
        "wrote them, or the model answers without probabilities"
    )


@dataclass(frozen=True)
class _Draft:
    """A window before it is known whether its estimate may be trusted."""

    ends: tuple[float, float]
    rows: int
    expected: Expected
    labelled: int
    checked: list[tuple[Expected, float]]  # that of the labelled rows alone, which may be of another kind; or []

    def estimate(self, baseline: float, past: PastEstimates) -> Estimate:
        one = self.expected
        measured = self.checked[0][1] if self.checked else None
        worse = one.drop > MARGIN
        return Estimate(
            METRIC, one.value, one.low, one.high, self.rows, baseline, past.trusted, _why(past), worse, *self.ends,
            measured, self.labelled,
        )  # fmt: skip


def _of_window(
    estimator: Estimator,
    scores: "np.ndarray[Any, Any]",
    pairs: Sequence[tuple[Any, Any] | None],
    ends: tuple[float, float],
) -> _Draft | None:
    there = np.isfinite(scores)
    if there.sum() < LEAST_ROWS:
        return None
    right = np.array([pair is not None and pair[0] == pair[1] for pair in pairs], bool)
    labelled = np.array([pair is not None for pair in pairs], bool) & there
    checked = list[tuple[Expected, float]]()
    if labelled.sum() >= LEAST_ROWS:
        checked.append((estimator.expected(scores[labelled]), float(right[labelled].mean())))
    return _Draft(ends, int(there.sum()), estimator.expected(scores[there]), int(labelled.sum()), checked)


def _why(past: PastEstimates) -> str:
    if not past.windows:
        return f"never checked: no window has {LEAST_ROWS} labels yet"
    held = f"the interval missed the measured accuracy in {past.missed} of {past.windows} windows"
    error = f"mean error {past.error:.3f}, bias {past.bias:+.3f}"
    if not past.trusted:
        return f"it lost the right to trigger: {held}, more often than its 5 % ({error})"
    return f"{held} ({error})"
