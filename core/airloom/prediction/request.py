"""What a person asks of a batch prediction, and the same fixed: one model version, one dataset version, one id."""

import hashlib
import json
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import TYPE_CHECKING, Any, Self

from airloom.contracts import DatasetVersion, Record, Snapshot
from airloom.datasets import versions
from airloom.datasets.snapshots import snapshot as snapshots
from airloom.datasets.snapshots.split import COLUMN, Published
from airloom.errors import ConfigError, DataError
from airloom.names import JobKey, RunKey, near, shown_model
from airloom.registry import models, python_models, signatures
from airloom.settings import Settings
from airloom.tracking import runs
from airloom.tracking.tags import Tag

if TYPE_CHECKING:
    from mlflow.entities.model_registry import ModelVersion

ALL = "all"  # the part of a snapshot that takes every row
OWN = ("prediction_id", "model", "dataset", "row", "prediction", "scores")  # columns of the answers
DAG = "predict"  # in the keys of batch predictions


@dataclass(frozen=True)
class Asked(Record):
    """What a person asks.

    Attributes:
        model: `digits/7`, `digits@champion`, or `digits` for the champion.
        dataset: `digits@v3`, `digits@golden`, or `digits` for the newest.
        split: the part whose rows are answered; empty for all rows.
        scores: have the probability of each class.
        columns: of the dataset, to stand beside the answers.
        allow_redacted: answer what is left of a version whose rows were forgotten in part.
    """

    model: str
    dataset: str
    split: str = ""
    scores: bool = False
    columns: list[str] = field(default_factory=list)
    allow_redacted: bool = False


@dataclass(frozen=True)
class Request(Record):
    """The same, fixed.

    Attributes:
        id: a hash of all that decides the answers; the same request always has the same.
        model: by its name in the registry.
        version: of it.
        model_uri: the address of its files.
        snapshot: the rows; `part` of it is answered.
        part: `ALL`, or the split.
        key: the column that says which row it is, where the dataset declares one.
        columns: of the dataset, to stand beside the answers.
        scores: whether the probability of each class does.
        time: of the ids; see `airloom.lineage.batches.BatchRecord`.
    """

    id: str
    model: str
    version: str
    model_uri: str
    snapshot: Snapshot
    part: str
    key: str
    columns: list[str]
    scores: bool
    time: int

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Self:
        """Rebuild the nested snapshot too."""
        return cls(**{**values, "snapshot": Snapshot.from_dict(values["snapshot"])})

    @property
    def split(self) -> str:
        """The split whose rows are answered; empty for all."""
        return "" if self.part == ALL else self.part

    @property
    def dataset(self) -> str:
        """`digits@v3`."""
        return self.snapshot.version_name

    def shown(self, settings: Settings) -> str:
        """The model version as it is called here: `digits/7`."""
        return f"{shown_model(self.model, settings.installation)}/{self.version}"

    def title(self, settings: Settings) -> str:
        """For people."""
        rows = f"split {self.split} of {self.dataset}" if self.split else self.dataset
        return f"{self.shown(settings)} on {rows}"

    def run_key(self, settings: Settings) -> str:
        """The key of its MLflow run."""
        return str(RunKey(DAG, self.id, installation=settings.installation))

    def job_key(self, settings: Settings, target: str) -> str:
        """The key of the job that answers the rows, and brings the answers to a target.

        Args:
            settings: of this installation.
            target: what names it; empty where they stay in the state folder.
        """
        more = f"-{hashlib.sha256(target.encode()).hexdigest()[:12]}" if target else ""
        return str(JobKey(self.run_key(settings), f"predict{more}"))


def fix(settings: Settings, asked: Asked) -> Request:
    """Look up model version, dataset version and columns, and refuse what can be known to fail. No data are read.

    Raises:
        RegistryError: there is no such model version, or its files were collected.
        SignatureRefused: no key that is trusted here signed it as it is.
        DataError: there is no such dataset version; of one with forgotten rows a `Redacted`.
        ConfigError: there is no such split or column.
    """
    model = models.find(settings, asked.model)
    signatures.check(settings, model)
    models.check_collected(settings, model)
    python_models.project_of(settings, model)
    version = versions.find(settings, asked.dataset)
    versions.check_whole(settings, version, allow_redacted=asked.allow_redacted)
    _check_columns(settings, version, asked.columns)
    rows = _rows(settings, model, version, asked)
    uri, digests = models.uri_of(model), models.digests_of(model)
    answers: dict[str, Any] = {"model": f"{model.name}/{model.version}", "files": digests, "dataset": version.name}
    answers |= {"content": rows.version_id, "rows": rows.id, "part": asked.split or ALL}
    answers |= {"columns": asked.columns, "scores": asked.scores}
    made = int(datetime.fromisoformat(version.created).timestamp() * 1000)
    return Request(
        id=hashlib.sha256(json.dumps(answers, sort_keys=True).encode()).hexdigest()[:32],
        model=model.name,
        version=str(model.version),
        model_uri=uri,
        snapshot=rows,
        part=asked.split or ALL,
        key=version.key,
        columns=list(asked.columns),
        scores=asked.scores,
        time=max(made, int(model.creation_timestamp)),
    )


def _check_columns(settings: Settings, version: DatasetVersion, columns: list[str]) -> None:
    there = versions.manifest_of(settings, version).arrow_schema.names
    for name in columns:
        if name not in there:
            hint = f"{near(name, there)}it has {', '.join(map(ascii, there[:20]))}"
            raise ConfigError(f"{version.name} has no column {name[:80]!a}", hint)
    if len(set(columns)) < len(columns):
        raise ConfigError(f"a column stands twice in {', '.join(columns)[:200]}", "name each once")
    taken = sorted({*columns, version.key} & set(OWN))
    if taken:
        message = f"the column {taken[0]!a} of {version.name} is called as one of the answers' own"
        raise ConfigError(message, f"these are {', '.join(OWN)}: leave it out, or rename it in the dataset")


def _rows(settings: Settings, model: "ModelVersion", version: DatasetVersion, asked: Asked) -> Snapshot:
    """What is read: every row, or a split as the model's training had it, so that `test` is what it never saw."""
    if not asked.split:
        return snapshots.ask(settings, version, {ALL: 1.0}, allow_redacted=asked.allow_redacted)
    split = _split_of(settings, model, version)
    rows = snapshots.ask(settings, version, split, allow_redacted=asked.allow_redacted)
    if asked.split not in rows.split:
        hint = f"it has {', '.join(rows.split)}"
        raise ConfigError(f"{version.name} has no split {asked.split[:80]!a}", hint)
    return rows


def _split_of(settings: Settings, model: "ModelVersion", version: DatasetVersion) -> snapshots.Split:
    """How the training of the model split this dataset; None, the dataset's own, where it was trained on another."""
    from mlflow.exceptions import MlflowException

    api = runs.reader(settings)
    with runs.connection_errors(settings):
        try:
            tags = api.get_run(model.tags.get(Tag.TRAIN_RUN) or model.run_id).data.tags
        except MlflowException as error:
            if error.error_code != "RESOURCE_DOES_NOT_EXIST":
                raise
            return None  # the training was deleted since
    if Tag.SNAPSHOT_RECORD not in tags:
        return None
    learned = Snapshot.from_dict(json.loads(tags[Tag.SNAPSHOT_RECORD]))
    if learned.dataset != version.dataset:
        return None
    if not learned.by:
        return learned.split
    return Published(learned.by.removeprefix(COLUMN) if learned.by.startswith(COLUMN) else "", learned.split)


def with_rows(settings: Settings, request: Request) -> Request:
    """The request with its rows chosen, which reads the indices of the version.

    Raises:
        DataError: no row is chosen, or what is stored does not answer.
    """
    rows = snapshots.make(settings, request.snapshot)
    if not rows.rows[request.part]:
        raise DataError(f"the split {request.split} of {request.dataset} has no rows", "name another one")
    return replace(request, snapshot=rows)
