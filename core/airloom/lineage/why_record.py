"""What `why` answers: a record for each kind of difference, and its JSON."""

from dataclasses import dataclass, field
from typing import Any

from airloom.contracts import Record

ORDER = ("data", "code", "parameters", "environment", "seed", "hardware")


@dataclass(frozen=True)
class Size(Record):
    """How large a difference is: a number and what it counts; 0 where it is none, or not known."""

    number: int
    of: str  # rows, settings, lines, weights, parameters, packages, seeds, properties


@dataclass(frozen=True)
class VersionChanges(Record):
    """What differs between two versions of a dataset, as `datasets.diff` has it."""

    schema: dict[str, list[str]]
    labels: dict[str, list[int]]
    shift: dict[str, dict[str, float]]  # by profile column: both means, and the stability index
    rows: dict[str, int]  # added, removed, kept, changed


@dataclass(frozen=True)
class DataDifference:
    """What the two trainings read."""

    same: bool
    size: Size
    versions: list[str]  # of the first, of the second
    settings: dict[str, list[object]] = field(default_factory=dict)  # split, since, tags, … where they differ
    changes: VersionChanges | None = None  # of two versions of one dataset
    unknown: str = ""  # why the rows cannot be compared

    def to_dict(self) -> dict[str, Any]:
        """As JSON; `size` stands before `versions` where both are the same version."""
        values: dict[str, Any] = {"same": self.same}
        size, versions = {"size": self.size.to_dict()}, {"versions": self.versions} | self.settings
        if self.changes is None and not self.unknown:
            return values | size | versions
        values |= versions | size
        return values | ({"diff": self.changes.to_dict()} if self.changes else {"unknown": self.unknown})


@dataclass(frozen=True)
class CodeDifference:
    """The function, and the project's modules that it imported."""

    same: bool
    size: Size
    diff: dict[str, list[str]]  # the unified diff of each file that differs
    function: list[str] = field(default_factory=list)  # of the first, of the second, where they differ
    unknown: str = ""  # which run keeps no source

    def to_dict(self) -> dict[str, Any]:
        """As JSON."""
        values = {"same": self.same, "size": self.size.to_dict(), "files": len(self.diff)}
        values |= {"function": self.function} if self.function else {}
        return values | {"diff": self.diff} | ({"unknown": self.unknown} if self.unknown else {})


@dataclass(frozen=True)
class ValueDifference:
    """Values by name, such as parameters or packages."""

    same: bool
    size: Size
    diff: dict[str, list[str | None]] = field(default_factory=dict)  # of the first, of the second, where they differ
    unknown: str = ""  # which of the two did not record them

    def to_dict(self) -> dict[str, Any]:
        """As JSON."""
        values = {"same": self.same, "size": self.size.to_dict()}
        return values | ({"unknown": self.unknown} if self.unknown else {"diff": self.diff})


@dataclass(frozen=True)
class TrainingDifference:
    """Two trainings side by side."""

    first: str  # MLflow run of the training
    second: str
    data: DataDifference
    pretrained: ValueDifference | None  # None: neither began with weights of the pipeline file
    code: CodeDifference
    parameters: ValueDifference
    environment: ValueDifference
    seed: ValueDifference
    hardware: ValueDifference

    @property
    def parts(self) -> dict[str, DataDifference | CodeDifference | ValueDifference]:
        """The kinds of difference by name, in their fixed order; `pretrained` only where one of the two has weights."""
        names = [name for name in ("data", "pretrained", *ORDER[1:]) if getattr(self, name) is not None]
        return {name: getattr(self, name) for name in names}

    def to_dict(self) -> dict[str, Any]:
        """As JSON."""
        parts = {name: part.to_dict() for name, part in self.parts.items()}
        return {"first": self.first, "second": self.second, **parts}
