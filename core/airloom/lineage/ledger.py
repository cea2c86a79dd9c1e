"""What lineage asks of MLflow, as plain records, by the quickest way there is.

Where MLflow's tables can be reached (the embedded stack's, or those that `AIRLOOM_MLFLOW_STORE` names) they are read,
with the stack up or down; a server somewhere else is asked by MLflow's own client. docs/adr/0023 says why.
"""

from collections.abc import Collection
from dataclasses import dataclass, field
from typing import Protocol

from airloom.contracts import Record

TRAIN = "train"  # the kind of a run that trained a candidate


@dataclass(frozen=True)
class Run(Record):
    """A run of MLflow, whatever became of it."""

    id: str
    name: str
    status: str
    deleted: bool
    artifacts: str  # address of its artifacts
    tags: dict[str, str] = field(default_factory=dict)
    parameters: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Version(Record):
    """A registered model version."""

    model: str
    number: str
    run: str  # the training that made it, as MLflow has it
    tags: dict[str, str] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """`digits/3`."""
        return f"{self.model}/{self.number}"


@dataclass(frozen=True)
class Brief(Record):
    """A run in one line."""

    id: str
    name: str
    status: str
    key: str
    kind: str


class Ledger(Protocol):
    """The questions. Tags and runs that do not exist are left out of the answers."""

    def numbers(self) -> list[tuple[str, str, str]]:
        """Every version that is not deleted: model, number, run."""

    def version(self, model: str, number: str) -> Version | None:
        """One version with its tags."""

    def aliases(self) -> dict[str, dict[str, str]]:
        """By model, the number that each alias names; a model without aliases is among them too."""

    def run(self, identity: str) -> Run | None:
        """One run with its tags and parameters."""

    def briefs(self, identities: Collection[str]) -> list[Brief]:
        """A line for each of these runs."""

    def tagged_runs(self, key: str, values: Collection[str] | None = None) -> dict[str, str]:
        """The runs, deleted ones too, that have a tag (with one of these values), and its value."""

    def tagged_versions(self, key: str, values: Collection[str] | None = None) -> dict[tuple[str, str], str]:
        """The same of the versions that are not deleted: by model and number."""
