"""What `impact` answers: a record for each thing that stands on the rows in question, and its JSON."""

from dataclasses import dataclass, field
from typing import Any

from airloom.contracts import Record


@dataclass(frozen=True)
class AffectedVersion(Record):
    """A dataset version that holds some of the rows."""

    name: str
    id: str
    commit: str
    rows: int  # of those in question
    deleted: bool
    redacted: int = 0  # how many of its rows were forgotten since


@dataclass(frozen=True)
class SnapshotFilter(Record):
    """Which rows of its version a snapshot takes."""

    since: int
    tags: list[str]


@dataclass(frozen=True)
class AffectedSnapshot:
    """A snapshot that takes some of the rows."""

    id: str
    version: str  # digits@v3
    rows: int  # of those in question
    filter: SnapshotFilter | None  # None where nothing recorded it; it then counts as taking all

    def to_dict(self) -> dict[str, Any]:
        """As JSON, the filter's fields beside the others."""
        values = {"id": self.id, "version": self.version, "rows": self.rows}
        return values | (self.filter.to_dict() if self.filter else {"filter": "unknown"})


@dataclass(frozen=True)
class AffectedRun:
    """A run on one of the snapshots."""

    id: str
    name: str
    status: str
    key: str
    kind: str  # train, trial, …; empty for a pipeline run
    snapshot: str  # its id

    def to_dict(self) -> dict[str, Any]:
        """All fields; not by `asdict`, which takes a tenth of a second for ten thousand runs."""
        return dict(vars(self))


@dataclass(frozen=True)
class AffectedModel(Record):
    """A model version on one of the snapshots."""

    name: str
    version: str
    run: str  # that made it
    snapshot: str  # empty where it does not say
    aliases: list[str]
    predictions: int | None  # that it has given; None for another installation's, whose counters are not here


@dataclass(frozen=True)
class AffectedBatch(Record):
    """A batch prediction of some of the rows, or by a model that stands on them."""

    run: str  # its MLflow run
    model: str  # digits/3
    dataset: str  # digits@v3, whose rows were answered
    rows: int  # that were answered
    read: int  # how many of them are in question
    by_model: bool  # whether the model stands on the rows in question: then every answer does
    committed: list[str]  # versions of datasets that hold the answers

    @property
    def predictions(self) -> int:
        """How many of its answers stand on the rows in question."""
        return self.rows if self.by_model else self.read


@dataclass(frozen=True)
class Impact:
    """Everything that stands on the rows in question."""

    target: str  # as it was asked for
    kind: str  # version, commit, shard
    name: str
    versions: list[AffectedVersion]
    snapshots: list[AffectedSnapshot]
    runs: list[AffectedRun]  # pipeline runs first, then their trainings, trials last
    models: list[AffectedModel]
    unattributed: int  # predictions of versions that the registry has no more: nobody can tell what they stood on
    batches: list[AffectedBatch] = field(default_factory=list)

    @property
    def aliases(self) -> list[str]:
        """The aliases of these models, as `digits@champion`."""
        return sorted(f"{model.name}@{alias}" for model in self.models for alias in model.aliases)

    @property
    def predictions(self) -> int:
        """How many these models have given, by this installation's counters."""
        return sum(model.predictions or 0 for model in self.models)

    @property
    def batch_predictions(self) -> int:
        """How many answers of batch predictions stand on the rows."""
        return sum(batch.predictions for batch in self.batches)

    def to_dict(self) -> dict[str, Any]:
        """As JSON."""
        return {
            "target": self.target,
            "kind": self.kind,
            "name": self.name,
            "versions": [version.to_dict() for version in self.versions],
            "snapshots": [snapshot.to_dict() for snapshot in self.snapshots],
            "runs": [run.to_dict() for run in self.runs],
            "models": [model.to_dict() for model in self.models],
            "aliases": self.aliases,
            "predictions": self.predictions,
            "unattributed": self.unattributed,
            "batches": [batch.to_dict() for batch in self.batches],
            "batch_predictions": self.batch_predictions,
        }
