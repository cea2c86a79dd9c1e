"""What a version was trained on, as drift compares with it: counted once, kept with a digest beside its snapshot.

The features are those of the profile of the dataset's type, of the rows that it trained on; the answers and their
scores are those that its evaluation kept of the test rows. Whoever forgets rows of the dataset removes both with the
snapshot's folder.
"""

import hashlib
import json
import logging
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from airloom.contracts import Record, Snapshot
from airloom.datasets.snapshots import snapshot as snapshots
from airloom.datasets.snapshots.files import folder
from airloom.datasets.types import get_type
from airloom.errors import AirloomError, DataError
from airloom.files import write_private, writing
from airloom.monitoring.drift_reference import NOTHING, FeatureReference, reference_of
from airloom.monitoring.two_sample import sample
from airloom.quality.evaluated import answer_scores, test_rows
from airloom.settings import Settings
from airloom.tracking import runs
from airloom.tracking.tags import Tag

if TYPE_CHECKING:
    import pandas as pd
    from mlflow.entities.model_registry import ModelVersion

    from airloom.datasets.snapshots.data import SnapshotData

FORM = 1
MOST_ROWS = 500_000  # of the training that are counted, evenly spread
ANSWER, SCORE = "(answer)", "(score)"
log = logging.getLogger(__name__)


@dataclass(frozen=True)
class VersionReference(Record):
    """What a version is compared with.

    Attributes:
        snapshot: that it trained on.
        dataset: of that, `digits@v3`.
        digest: of what is counted.
        features: of its profile.
        answers: answer and score, as far as the evaluation kept them.
        notes: what there is no reference of, and why.
    """

    snapshot: str
    dataset: str
    digest: str
    features: list[FeatureReference]
    answers: list[FeatureReference]
    notes: list[str] = field(default_factory=list)


def reference(settings: Settings, version: "ModelVersion") -> VersionReference:
    """The reference of a version; counted where it is asked for the first time.

    Raises:
        DataError: there is none: its training or its data are gone, or rows of these were forgotten.
    """
    ready, run = trained_on(settings, version), version.tags.get(Tag.RUN, "")
    place = folder(settings, ready.id)
    features = _kept(place / "drift-features.json", lambda: _features(settings, ready))
    name = hashlib.sha256(f"{version.name}/{version.version}".encode()).hexdigest()[:16]
    notes = list[str]()
    try:
        answers = _kept(place / f"drift-answers-{name}.json", lambda: _answers(settings, run))
    except AirloomError as error:
        answers = []
        notes.append(f"answers have no reference: {error.message}")
    digest = _sum([one.to_dict() for one in [*features, *answers]])
    return VersionReference(ready.id, ready.version_name, digest, features, answers, notes)


def trained_on(settings: Settings, version: "ModelVersion") -> Snapshot:
    """The snapshot of a version's training, ready to be read.

    Raises:
        DataError: it, or its data, are gone.
    """
    learned = _training(settings, version)
    try:
        snapshots.check_whole(settings, learned)
        return snapshots.make(settings, learned)
    except AirloomError as error:
        message = f"{version.name}/{version.version} has no reference: {error.message}"
        raise DataError(message, "train a version on data that are here; drift compares with the training") from None


def training_sample(settings: Settings, snapshot: Snapshot) -> dict[str, list[Any]]:
    """The profile of some of the rows that were trained on, at most `two_sample.MOST_ROWS`, always the same ones.

    Args:
        settings: of this installation.
        snapshot: that is ready.
    """
    import pandas as pd

    data = snapshots.open_snapshot(settings, snapshot)
    kind, split, parts, before = get_type(data.layout.type), _split_of(snapshot), list[Any](), 0
    wanted = sample(len(data.split(split)))
    for table in data.tables(split):
        low, high = np.searchsorted(wanted, [before, before + table.num_rows])
        if low < high:  # the profile of these rows alone: that of pictures is not cheap
            parts.append(kind.profile(table.take(wanted[low:high] - before), data.layout))
        before += table.num_rows
    frame = pd.concat(parts, ignore_index=True)
    return {str(name): frame[name].astype(object).tolist() for name in frame.columns}


def _training(settings: Settings, version: "ModelVersion") -> Snapshot:
    from mlflow.exceptions import MlflowException

    shown = f"{version.name}/{version.version}"
    api = runs.reader(settings)
    with runs.connection_errors(settings):
        try:
            tags = api.get_run(version.tags.get(Tag.TRAIN_RUN) or version.run_id).data.tags
        except MlflowException as error:
            if error.error_code != "RESOURCE_DOES_NOT_EXIST":
                raise
            tags = {}
    if Tag.SNAPSHOT_RECORD not in tags:
        hint = "its run in MLflow, which names the snapshot, was deleted or is not of Airloom; train a new version"
        raise DataError(f"{shown} has no reference: nobody knows what it was trained on", hint)
    return Snapshot.from_dict(json.loads(tags[Tag.SNAPSHOT_RECORD]))


def _kept(path: Path, make: Callable[[], list[FeatureReference]]) -> list[FeatureReference]:
    """What a file holds, or what is made and put there. A damaged one is made anew."""
    try:
        values = json.loads(path.read_bytes())
        if values["sha256"] == _sum(values["references"]) and values["form"] == FORM:
            return [FeatureReference.from_dict(one) for one in values["references"]]
        log.warning("%s is damaged or of another release; it is counted anew", path)
    except FileNotFoundError:
        pass
    except (ValueError, KeyError, TypeError):
        log.warning("%s is damaged; it is counted anew", path)
    made = make()
    plain = [one.to_dict() for one in made]
    with writing(path, "ask again: nothing else is lost"):
        write_private(path, json.dumps({"form": FORM, "sha256": _sum(plain), "references": plain}))
    return made


def _sum(values: Any) -> str:
    return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()


def _features(settings: Settings, snapshot: Snapshot) -> list[FeatureReference]:
    data = snapshots.open_snapshot(settings, snapshot)
    frame = _profile(data, _split_of(snapshot))
    return [_of_column(str(name), frame[name]) for name in frame.columns if name != data.layout.label]


def _split_of(snapshot: Snapshot) -> str:
    return "train" if "train" in snapshot.split else next(iter(snapshot.split))


def _profile(data: "SnapshotData", split: str) -> "pd.DataFrame":
    import pandas as pd

    kind, rows = get_type(data.layout.type), len(data.split(split))
    step, parts, before = -(-rows // MOST_ROWS), list[Any](), 0
    for table in data.tables(split):
        profile = kind.profile(table, data.layout) if table.num_rows else None
        if profile is not None:
            parts.append(profile.iloc[-before % step :: step])
            before += len(profile)
    return pd.concat(parts, ignore_index=True)


def _of_column(name: str, column: "pd.Series") -> FeatureReference:
    from pandas.api.types import is_bool_dtype, is_datetime64_any_dtype, is_numeric_dtype

    if is_datetime64_any_dtype(column):
        return FeatureReference(name, NOTHING, len(column), int(column.isna().sum()), says="a time moves on by itself")
    if is_numeric_dtype(column) and not is_bool_dtype(column):
        return reference_of(name, column.to_numpy("float64", na_value=float("nan")))
    return reference_of(name, column.astype(object).tolist())


def _answers(settings: Settings, run: str) -> list[FeatureReference]:
    rows = test_rows(settings, run)
    answers = rows.candidate
    if rows.kind == "classification":
        names = [rows.name(place) for place in answers.predicted.tolist()]
        found = [reference_of(ANSWER, names)]
        if (scores := answer_scores(answers)) is not None:
            found.append(reference_of(SCORE, scores.astype(np.float64)))
        return found
    if rows.kind == "regression" and answers.predicted.ndim == 1:
        return [reference_of(ANSWER, answers.predicted)]
    raise DataError(f"of the task {rows.kind} the log holds no answer that can be counted")
