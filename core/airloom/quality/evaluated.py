"""What the evaluation of a version kept of its test rows: answers, probabilities, labels, slices."""

import json
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from airloom.contracts import Snapshot
from airloom.datasets.snapshots import snapshot as snapshots
from airloom.errors import AirloomError, DataError
from airloom.evaluation import predictions
from airloom.evaluation.evaluate import PREDICTIONS
from airloom.settings import Settings
from airloom.spec.load import DEFINITION
from airloom.spec.pipeline import Slice
from airloom.tasks.classification import CHANCES, SCORE
from airloom.tracking import runs
from airloom.tracking.tags import Tag

if TYPE_CHECKING:
    from mlflow.entities.model_registry import ModelVersion

    from airloom.evaluation.predictions import PredictedRows
    from airloom.tasks.rows import Answers


def answer_scores(answers: "Answers") -> "np.ndarray[Any, Any] | None":
    """The probability of each answer, (n,), as the evaluation kept it; None where it kept none."""
    if SCORE in answers.kept:
        return answers.kept[SCORE]
    chances = answers.kept.get(CHANCES)  # of all classes, where a metric needs them
    return None if chances is None else np.asarray(chances[np.arange(len(chances)), answers.predicted])


def test_rows(settings: Settings, run: str) -> "PredictedRows":
    """The test rows with what the version answered.

    Args:
        settings: of this installation.
        run: the MLflow run that evaluated it.

    Raises:
        DataError: they are gone.
    """
    from mlflow.exceptions import MlflowException

    api = runs.reader(settings)
    with tempfile.TemporaryDirectory(prefix="airloom-drift-") as place, runs.connection_errors(settings):
        try:
            path = Path(api.download_artifacts(run, PREDICTIONS, place))
        except (MlflowException, OSError) as error:
            raise DataError(f"the evaluation's predictions are gone: {str(error)[:120]}") from None
        return predictions.read(path, with_champion=False)


def slices(settings: Settings, run: str) -> Mapping[str, Slice]:
    """The slices of the pipeline file that a run was resolved with; none where nobody knows that file any more.

    Args:
        settings: of this installation.
        run: its MLflow run.
    """
    from mlflow.exceptions import MlflowException

    api = runs.reader(settings)
    with tempfile.TemporaryDirectory(prefix="airloom-drift-") as place, runs.connection_errors(settings):
        try:
            values: dict[str, Any] = json.loads(Path(api.download_artifacts(run, DEFINITION, place)).read_bytes())
            found = values.get("evaluate", {}).get("slices", {})
            return {name: Slice.model_validate(one) for name, one in found.items()}
        except (MlflowException, OSError, ValueError, AttributeError, AirloomError):
            return {}


@dataclass(frozen=True)
class JudgedRows:
    """The test rows of a version, with what the profile says of them.

    Attributes:
        values: of each feature of the profile.
        loss: of each row: whether the answer was wrong, or its absolute error.
        answers: of the version: names of classes, or numbers.
        numbers: whether they are numbers.
        slices: which rows belong to a slice, bool by name.
        label: the name of the label's column.
    """

    values: Mapping[str, list[Any]]
    loss: "np.ndarray[Any, Any]"
    answers: list[Any]
    numbers: bool
    slices: Mapping[str, "np.ndarray[Any, Any]"]
    label: str


def judged_rows(settings: Settings, version: "ModelVersion", snapshot: Snapshot) -> JudgedRows | str:
    """The test rows of a version with their features; or why they cannot be told.

    Args:
        settings: of this installation.
        version: whose.
        snapshot: that it trained on, which is ready.
    """
    try:
        rows = test_rows(settings, version.tags.get(Tag.RUN, ""))
        data = snapshots.open_snapshot(settings, snapshot)
    except AirloomError as error:
        return f"of the test rows nothing is known: {error.message}"
    said = rows.candidate.predicted
    if rows.kind not in ("classification", "regression") or said.ndim != 1:
        return f"of the task {rows.kind} no loss of a row can be told by the log"
    frame = data.frame("test") if "test" in snapshot.split else None
    if frame is None or len(frame) != len(rows):
        return "the rows of the evaluation are not the test rows of the snapshot: nothing is told of their features"
    numbers, label = rows.kind == "regression", str(data.layout.label)
    loss = np.abs(said - rows.label) if numbers else said != rows.label
    answers = said.tolist() if numbers else [rows.name(place) for place in said.tolist()]
    values = {str(name): frame[name].astype(object).tolist() for name in frame.columns if name != label}
    return JudgedRows(values, loss.astype(np.float64), answers, numbers, rows.slices, label)
