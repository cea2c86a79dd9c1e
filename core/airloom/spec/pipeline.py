"""What a pipeline file may say. This model is the truth; `airloom pipeline schema` prints it."""

import json
from pathlib import PurePosixPath
from typing import Annotated, Literal

from pydantic import (
    BeforeValidator,
    ByteSize,
    Discriminator,
    Field,
    StringConstraints,
    Tag,
    field_validator,
    model_validator,
)

from airloom.spec.base import Duration, ParameterName, Scalar, Section
from airloom.spec.candidates import Candidate
from airloom.spec.gate import GateSection
from airloom.spec.tuning import TuneSection

MOST_PARAMETERS = 6000  # characters; what the search adds has to fit into the same tag of MLflow, which takes 8000
Name = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]{0,39}$", description="lower case, digits and _, at most 40")]
BUILT = "pipeline:file"  # the tag of a DAG that was built from a pipeline file
SKIP_MISSED = "missed:skip"  # the tag of a DAG that wants no runs of versions announced while it was paused
SliceName = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9_ .-]{0,59}$")]


Share = Annotated[float, Field(gt=0, lt=1)]
Named = Annotated[list[Scalar], Field(min_length=1)]


class ColumnSplit(Section):
    """A split that was published with the data: each row says its part in a column."""

    column: str = Field(min_length=1, description="the column that says it; it is no input of the model")
    train: Named | None = Field(default=None, description="the values of training rows; else train")
    validation: Share | Named | None = Field(
        default=None,
        description="the values, else validation, valid, val or dev; or, without any, a share of train",
    )
    test: Named | None = Field(default=None, description="the values of test rows; else test")


class TaggedParts(Section):
    """Tags of commits: the rows of a commit with one of them belong to that part."""

    train: list[Annotated[str, Field(min_length=1)]] = Field(min_length=1, description="of training rows")
    validation: Share | Annotated[list[Annotated[str, Field(min_length=1)]], Field(min_length=1)] = Field(
        description="tags, or a share of train"
    )
    test: list[Annotated[str, Field(min_length=1)]] = Field(min_length=1, description="of test rows")


class TagSplit(Section):
    """A split that was published with the data: each commit brought rows of one part."""

    tags: TaggedParts


def _kind_of_split(split: object) -> str:
    if isinstance(split, ColumnSplit) or (isinstance(split, dict) and "column" in split):
        return "column"
    return "tags" if isinstance(split, TagSplit) or (isinstance(split, dict) and "tags" in split) else "shares"


Shares = dict[Literal["train", "validation", "test"], Share]
Split = Annotated[
    Annotated[Shares, Tag("shares")] | Annotated[ColumnSplit, Tag("column")] | Annotated[TagSplit, Tag("tags")],
    Discriminator(_kind_of_split),
]


SPLIT: Shares = {"train": 0.6, "validation": 0.15, "test": 0.25}


class DatasetSection(Section):
    """Which dataset, and how its rows are split."""

    name: Name = Field(description="of the dataset; lower case, digits and _, at most 40")
    split: Split = Field(
        default=SPLIT,
        description="fractions by hash, summing to 1; or a published split, by a column or by tags of commits. "
        "Left out, a dataset that declares a published split has that",
    )

    tags: list[Annotated[str, Field(min_length=1)]] = Field(
        default=[], description="only rows of commits with all of these tags; !tag: of commits without it"
    )
    since: int = Field(default=0, ge=0, description="only rows that came after this version; 0: all")

    @field_validator("split")
    @classmethod
    def _whole(cls, split: Shares | ColumnSplit | TagSplit) -> Shares | ColumnSplit | TagSplit:
        if not isinstance(split, dict):
            return split
        if set(split) != {"train", "validation", "test"} or abs(sum(split.values()) - 1) > 1e-9:
            raise ValueError(f"needs train, validation and test, summing to 1; got {split}")
        return split


class CacheSection(Section):
    """Which steps may take the result of an earlier run with the same inputs; `cache: false` switches off all."""

    tune: bool = Field(default=True, description="take the study of an earlier run with the same inputs")
    train: bool = Field(default=True, description="take its model")
    evaluate: bool = Field(default=True, description="take its evaluation")


def _each(value: object) -> object:
    return dict.fromkeys(CacheSection.model_fields, value) if isinstance(value, bool) else value


class ResourcesSection(Section):
    """What one job may use, and where it runs."""

    devices: int = Field(default=0, ge=0, le=1024, description="whole devices (GPUs), leased all or none")
    processes: int = Field(default=1, ge=1, le=1024, description="ranks that train together, under torchrun")
    threads: int = Field(default=1, ge=1, le=256, description="CPU threads of one process")
    memory: ByteSize = Field(default=ByteSize(0), description="of all its processes, for example 2GiB; 0: no limit")
    time: Duration = Field(default=600, description="wall time of one job, or of one trial")
    pool: str = Field(default="default_pool", description="Airflow pool of the heavy tasks")
    interpreter: str = Field(default="", description="Python of another environment, with airloom in it")
    environment: list[Annotated[str, Field(pattern=r"^[A-Za-z_][A-Za-z0-9_]*$")]] = Field(
        default=[], description="names of further variables that jobs may see, for example credentials"
    )


class DeploySection(Section):
    """How an accepted version comes to serve."""

    steps: list[Literal["champion"]] = Field(
        default=["champion"], min_length=1, max_length=1, description="what an accepted version becomes, in order"
    )


class StopSection(Section):
    """When a training has had enough; it then ends well, with what it learned and its checkpoint kept."""

    steps: int | None = Field(default=None, ge=1, description="optimizer steps")
    time: Duration | None = Field(default=None, description="wall time in the training's loops, all attempts together")
    device_hours: float | None = Field(default=None, gt=0, description="the same, times the number of processes")


class Slice(Section):
    """Rows of the test split: exactly one of `label`, `tag`, `column`."""

    label: Scalar | list[Scalar] | None = Field(default=None, description="rows with this label, or one of these")
    tag: str | None = Field(default=None, min_length=1, description="rows of commits with this tag: source=phone")
    column: str | None = Field(default=None, min_length=1, description="a column of the dataset type's profile")
    equals: Scalar | None = Field(default=None, description="rows where the column has this value")
    at_least: float | None = Field(default=None, description="rows where the column is this or more")
    below: float | None = Field(default=None, description="rows where the column is less")

    @model_validator(mode="after")
    def _one_kind(self) -> "Slice":
        if sum(kind is not None for kind in (self.label, self.tag, self.column)) != 1:
            raise ValueError("needs exactly one of label: 3, tag: source=phone, column: mean_intensity")
        bounds = [self.equals, self.at_least, self.below]
        if (self.column is None) != all(bound is None for bound in bounds):
            raise ValueError("column goes with equals, at_least or below; label and tag go alone")
        return self


class EvaluateSection(Section):
    """How candidate and champion are looked at."""

    slices: dict[SliceName, Slice] = Field(default={}, description="parts of the test split by name")


class Pipeline(Section):
    """A pipeline file."""

    pipeline: Name = Field(
        description="its name: of the DAG, the study and the model; lower case, digits and _, at most 40"
    )
    dataset: DatasetSection = Field(description="what it learns from")
    train: str = Field(
        default="",
        pattern=r"^([^:]+:[A-Za-z_]\w*)?$",
        description="path/from/project.py:function or module:function; or else a command",
    )
    command: str | list[str] = Field(default="", description="a program of anybody's that trains, instead of `train`")
    inputs: list[str] = Field(
        default=[], description="files, folders or patterns of the project that the training reads by path"
    )
    cache: Annotated[CacheSection, BeforeValidator(_each)] = Field(
        default=CacheSection(), description="which steps may take the result of an earlier run; false: none"
    )
    rehearse: bool = Field(
        default=True, description="train on a few rows, export and evaluate before the first trial of code that is new"
    )
    parameters: dict[ParameterName, Scalar] = Field(
        default_factory=dict, description="what the training function finds in run.params, beside the searched ones"
    )
    seed: int = Field(default=0, ge=0, description="of every random decision of study and training")
    resources: ResourcesSection = Field(default=ResourcesSection(), description="what one job may use")
    stop: StopSection = Field(default=StopSection(), description="when a training has had enough")
    tune: TuneSection = Field(description="the study that searches parameters")
    candidates: dict[Name, Candidate] = Field(
        default={}, description="several training functions, each tuned and trained; the best one goes to the gate"
    )
    missed: Literal["run", "skip"] = Field(
        default="run", description="whether versions announced while its DAG was paused get their runs afterwards"
    )
    evaluate: EvaluateSection = Field(default=EvaluateSection(), description="how candidate and champion are looked at")
    gate: GateSection = Field(description="the rules that let a candidate through")
    deploy: DeploySection = Field(default=DeploySection(), description="how an accepted version comes to serve")

    @property
    def trains(self) -> str:
        """What trains, for people."""
        return self.train or (self.command if isinstance(self.command, str) else " ".join(self.command))

    @model_validator(mode="after")
    def _one_way_to_train(self) -> "Pipeline":
        if bool(self.train) == bool(self.command):
            raise ValueError("needs either train: path.py:function or command: a program")
        if self.command and self.resources.processes > 1:
            raise ValueError("a command starts its own processes: leave resources.processes at 1")
        return self

    @field_validator("inputs")
    @classmethod
    def _inside(cls, inputs: list[str]) -> list[str]:
        for name in inputs:
            if not name or PurePosixPath(name).is_absolute() or ".." in PurePosixPath(name).parts:
                raise ValueError(f"{name!r} is no path below the project's root")
        return inputs

    @model_validator(mode="after")
    def _known_slices(self) -> "Pipeline":
        if unknown := sorted(set(self.gate.slices) - set(self.evaluate.slices)):
            there = ", ".join(self.evaluate.slices) or "none"
            raise ValueError(f"gate.slices: {', '.join(unknown)}: no such slice; evaluate.slices has {there}")
        return self

    @model_validator(mode="after")
    def _no_shadowing(self) -> "Pipeline":
        both = sorted(set(self.parameters) & set(self.tune.dimensions))
        if both:
            raise ValueError(f"{', '.join(both)}: stands in both parameters and tune.space; keep one")
        return self

    @model_validator(mode="after")
    def _short(self) -> "Pipeline":
        if (size := len(json.dumps(self.parameters))) > MOST_PARAMETERS:
            raise ValueError(
                f"parameters: {size} characters in all, MLflow keeps {MOST_PARAMETERS}: put long values into a file "
                "of the project, name it in `inputs`, and give its path"
            )
        return self

    @model_validator(mode="after")
    def _shared(self) -> "Pipeline":
        if self.tune.lanes > 1 and not self.resources.devices:
            raise ValueError("tune.share is a part of a device: set resources.devices to 1, or raise tune.workers")
        return self
