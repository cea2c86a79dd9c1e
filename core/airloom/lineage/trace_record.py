"""What `trace` answers: a record for each link of the chain, and its JSON."""

from dataclasses import dataclass, field
from typing import Any

from airloom.contracts import Record
from airloom.monitoring.prediction_log import LoggedPrediction


@dataclass(frozen=True)
class TracedModel(Record):
    """The model version that answered."""

    name: str
    version: str
    aliases: list[str]
    gate: str  # what the gate decided, a reason each
    predictions: int  # that it has given, by this installation's counters
    taken_from: str = ""  # the version of another installation that it was made of

    def to_dict(self) -> dict[str, Any]:
        """All fields; where it comes from is left out where it was trained here."""
        values = dict(vars(self))
        if not self.taken_from:
            del values["taken_from"]
        return values


@dataclass(frozen=True)
class TracedRun(Record):
    """The training, and the pipeline run that it belongs to."""

    pipeline_run: str  # its key
    parent: str  # its MLflow run
    train: str  # MLflow run of the training; empty where there are none or several
    name: str
    kind: str
    id: str = ""  # of the run that was asked for, where no single version came of it
    status: str = ""  # of that run
    trainings: list[str] = field(default_factory=list)  # all of its trainings, where it has several
    study: str = ""  # that chose the parameters, or `not tuned`; empty where nothing says

    def to_dict(self) -> dict[str, Any]:
        """All fields; what only a run without a version has is left out where it is empty."""
        values = dict(vars(self))
        if not self.study:
            del values["study"]
        if not self.id:
            del values["id"], values["status"]
        if not self.trainings:
            del values["trainings"]
        return values


@dataclass(frozen=True)
class ReadRows(Record):
    """What of a dataset version a snapshot takes."""

    split: dict[str, Any]  # shares by name; of a published split what names each part
    rows: dict[str, int]
    since: int
    tags: list[str]
    by: str = ""  # what tells a published split


@dataclass(frozen=True)
class TracedDataset(Record):
    """The dataset version that was trained on."""

    version: str = ""  # digits@v3; empty where nothing says which it was
    id: str = ""
    commit: str = ""  # as it was recorded; a forgetting may have replaced it since
    redacted: int = 0  # how many of its rows were forgotten since


@dataclass(frozen=True)
class TracedCommit(Record):
    """A commit of data, with what a later version still has of it."""

    commit: str
    version: str  # that it made
    id: str
    date: str
    author: str
    message: str
    tags: list[str]
    source: str
    rows: int  # that the later version still has
    read: int  # how many of them the snapshot takes
    deleted: bool  # the version that it made
    redacted: int = 0  # of that version, how many rows were forgotten since


@dataclass(frozen=True)
class TracedBatch(Record):
    """The batch prediction that gave an answer, and the row that it was given to."""

    run: str  # its MLflow run
    dataset: str  # digits@v3, whose rows were answered
    split: str  # empty for all rows
    rows: int  # that were answered
    committed: list[str]  # versions of datasets that hold the answers
    row: int | None = None  # its number in the dataset version, from 0; None where the whole batch was asked for
    brought_by: str = ""  # the version whose commit brought the row; empty where rows were forgotten since
    commit: str = ""  # of that version


@dataclass(frozen=True)
class Lineage:
    """The whole chain of a prediction, a model version or a run."""

    target: str  # as it was asked for
    model: TracedModel | None  # None for a run that no single version came of
    run: TracedRun
    parameters: dict[str, str]
    code: dict[str, str]
    snapshot: str = ""  # its id
    read: ReadRows | None = None  # None where no run recorded it
    dataset: TracedDataset = TracedDataset()
    commits: list[TracedCommit] = field(default_factory=list)  # newest first
    missing: str = ""  # what could not be looked up, and why
    prediction: str = ""  # its id, where a prediction was asked for
    logged: LoggedPrediction | None = None  # its row of the log; None where it was not kept
    models: list[str] | None = None  # where a run was asked for: the versions that it made
    batch: TracedBatch | None = None  # that gave the prediction, or that was asked for by its run
    pretrained: dict[str, dict[str, Any]] = field(default_factory=dict)  # weights that the training began with

    def to_dict(self) -> dict[str, Any]:
        """As JSON; what only a prediction, a run, a batch or pretrained weights have is left out elsewhere."""
        asked: dict[str, Any] = {"target": self.target}
        if self.batch:
            asked |= {"batch": self.batch.to_dict()}
        if self.prediction:
            asked |= {"prediction": self.prediction, "logged": self.logged.to_dict() if self.logged else None}
        chain = {
            "model": self.model.to_dict() if self.model else None,
            "run": self.run.to_dict(),
            "parameters": self.parameters,
            "code": self.code,
            **({"pretrained": self.pretrained} if self.pretrained else {}),
            "snapshot": self.snapshot,
            "read": self.read.to_dict() if self.read else None,
            "dataset": self.dataset.to_dict(),
            "commits": [commit.to_dict() for commit in self.commits],
            "missing": self.missing,
        }
        return asked | chain | ({"models": self.models} if self.models is not None else {})
