"""What a pipeline file may say. This model is the truth; `airloom pipeline schema` prints it."""

import json
from pathlib import PurePosixPath
from typing import Annotated, Literal

from pydantic import (
    BeforeValidator,
    ByteSize,
    Field,
    StringConstraints,
    field_validator,
    model_validator,
)

from airloom.errors import ConfigError
from airloom.spec.base import Duration, ParameterName, Scalar, Section, left_out, text_list
from airloom.spec.candidates import Candidate
from airloom.spec.dataset import DatasetSection, Name
from airloom.spec.deploy import DeploySection
from airloom.spec.gate import GateSection
from airloom.spec.log import LogSection
from airloom.spec.monitor import MonitorSection
from airloom.spec.predict import PredictSection
from airloom.spec.tasks import METRICS, has, known
from airloom.spec.tuning import Distribution, TuneSection
from airloom.spec.weights import InputEntry, WeightsSection

MOST_PARAMETERS = 6000  # characters; what the search adds has to fit into the same tag of MLflow, which takes 8000
BUILT = "pipeline:file"  # the tag of a DAG that was built from a pipeline file
SKIP_MISSED = "missed:skip"  # the tag of a DAG that wants no runs of versions announced while it was paused
SliceName = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9_ .-]{0,59}$")]


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


OwnMetric = Annotated[str, StringConstraints(pattern=r"^[^:]+:[A-Za-z_]\w*$")]


class EvaluateSection(Section):
    """How candidate and champion are looked at."""

    slices: dict[SliceName, Slice] = Field(default={}, description="parts of the test split by name")
    metrics: Annotated[list[OwnMetric], BeforeValidator(text_list)] = Field(
        default=[],
        description="functions of the project, path.py:function: (outputs, labels, rows) -> a value for each row, or "
        "one number of all; more is better",
    )

    @field_validator("metrics")
    @classmethod
    def _names(cls, metrics: list[str]) -> list[str]:
        names = [reference.partition(":")[2] for reference in metrics]
        if twice := next((name for name in names if names.count(name) > 1), ""):
            raise ValueError(f"two functions are called {twice}: a metric has the name of its function")
        ours = [name for name in names if any(has(task, name) for task in METRICS)]
        if ours:
            raise ValueError(f"{ours[0]} is a metric of ours: give the function another name")
        return metrics

    @property
    def own(self) -> dict[str, str]:
        """The functions by the name of their metric."""
        return {reference.partition(":")[2]: reference for reference in self.metrics}


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
    task: str = Field(
        default="",
        pattern=r"^([^:]+:[A-Za-z_]\w*|[a-z_]*)$",
        description=f"what the answers are for: {', '.join(METRICS)}, or path.py:Class; left out, labels that are "
        "classes are told, and numbers predicted",
    )
    inputs: list[InputEntry] = Field(
        default=[],
        description="files, folders or patterns of the project that the training reads by path; pretrained weights",
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
    tune: TuneSection | None = Field(
        default=None,
        json_schema_extra=left_out,
        description="the study that searches parameters; left out: one training, with `parameters`",
    )
    candidates: dict[Name, Candidate] = Field(
        default={}, description="several training functions, each tuned and trained; the best one goes to the gate"
    )
    missed: Literal["run", "skip"] = Field(
        default="run", description="whether versions announced while its DAG was paused get their runs afterwards"
    )
    evaluate: EvaluateSection = Field(default=EvaluateSection(), description="how candidate and champion are looked at")
    gate: GateSection | None = Field(
        default=None,
        json_schema_extra=left_out,
        description="the rules that let a candidate through; left out: it is evaluated and registered, nobody judges",
    )
    deploy: DeploySection | None = Field(
        default=None,
        json_schema_extra=left_out,
        description="how an accepted version comes to serve; left out: `airloom model promote` makes it the champion",
    )
    log: LogSection | None = Field(
        default=None,
        json_schema_extra=left_out,
        description="what the prediction log keeps of the inputs that its versions answer; left out: nothing",
    )
    monitor: MonitorSection | None = Field(
        default=None,
        json_schema_extra=left_out,
        description="how its champion is watched, and when that starts a run; left out: nobody watches it",
    )
    predict: list[PredictSection] = Field(default=[], description="datasets that each new champion answers")

    @property
    def trains(self) -> str:
        """What trains, for people."""
        return self.train or (self.command if isinstance(self.command, str) else " ".join(self.command))

    @property
    def files(self) -> list[str]:
        """Of its inputs the files, folders and patterns."""
        return [entry for entry in self.inputs if isinstance(entry, str)]

    @property
    def weights(self) -> list[WeightsSection]:
        """Of its inputs the weights."""
        return [entry for entry in self.inputs if isinstance(entry, WeightsSection)]

    @property
    def dimensions(self) -> dict[str, Distribution]:
        """What the study searches, where there is one and the file says what."""
        return self.tune.dimensions if self.tune else {}

    @property
    def study(self) -> TuneSection:
        """The study.

        Raises:
            ConfigError: the file has no `tune`.
        """
        if self.tune is None:
            hint = f"`airloom run {self.pipeline}` trains once, with its `parameters`; or give the file a `tune`"
            raise ConfigError(f"pipeline {self.pipeline} is not tuned: its file has no `tune`", hint)
        return self.tune

    @property
    def policy(self) -> GateSection:
        """The rules of its gate.

        Raises:
            ConfigError: the file has no `gate`.
        """
        if self.gate is None:
            hint = f"give the file a `gate`; or a person decides: `airloom model promote {self.pipeline}/VERSION`"
            raise ConfigError(f"nobody judges what pipeline {self.pipeline} trains: its file has no `gate`", hint)
        return self.gate

    @property
    def own_task(self) -> bool:
        """Whether the task is a class of the project, whose metrics nobody knows before it is loaded."""
        return ":" in self.task

    @model_validator(mode="after")
    def _task(self) -> "Pipeline":
        if self.task and not self.own_task and self.task not in METRICS:
            raise ValueError(
                f"task: {self.task!r}: there is no such task; there are {', '.join(METRICS)}, path.py:Class"
            )
        metric = self.gate.against_champion.metric if self.gate else ""
        if metric and not self.own_task and metric not in self.evaluate.own and not has(self.task, metric):
            there = ", ".join([*known(self.task), *self.evaluate.own]) or "none: name a function in evaluate.metrics"
            what = f"task {self.task}" if self.task else "a pipeline without `task`"
            raise ValueError(f"gate.against_champion.metric: {what} has no metric {metric!r}; there are {there}")
        return self

    @model_validator(mode="after")
    def _judged(self) -> "Pipeline":
        if self.deploy and not self.gate:
            raise ValueError(
                "deploy makes a version serve that nobody judged: give the file a `gate`; or leave `deploy` out, and a "
                f"person decides: `airloom model promote {self.pipeline}/VERSION`"
            )
        if self.predict and not self.deploy:
            raise ValueError(
                "predict: each new champion answers, and without `deploy` no run makes one: give the file a `deploy`, "
                "or leave `predict` out, and ask: `airloom predict MODEL DATASET`"
            )
        if self.monitor and self.monitor.retrain and not self.gate:
            raise ValueError(
                "monitor.retrain starts runs whose model has to be better than the champion, and nobody judges it: "
                "give the file a `gate`, or leave `monitor.retrain` out, and a person is asked"
            )
        if len(self.candidates) > 1 and not self.gate:
            names = ", ".join(self.candidates)
            raise ValueError(
                f"of several candidates ({names}) the best by gate.against_champion.metric goes on: give the file a "
                "`gate`, or leave one candidate"
            )
        if searched := [name for name, candidate in self.candidates.items() if candidate.space and not self.tune]:
            raise ValueError(
                f"candidates.{searched[0]}.space: without `tune` nothing is searched: give the file a `tune`, or leave "
                "it out"
            )
        return self

    @model_validator(mode="after")
    def _one_way_to_train(self) -> "Pipeline":
        if bool(self.train) == bool(self.command):
            raise ValueError("needs either train: path.py:function or command: a program")
        if self.command and self.resources.processes > 1:
            raise ValueError("a command starts its own processes: leave resources.processes at 1")
        return self

    @field_validator("inputs")
    @classmethod
    def _inside(cls, inputs: list[InputEntry]) -> list[InputEntry]:
        names = [entry.name for entry in inputs if isinstance(entry, WeightsSection)]
        if twice := sorted({name for name in names if names.count(name) > 1}):
            raise ValueError(f"two weights are called {twice[0]!r}: rename one")
        for name in (entry for entry in inputs if isinstance(entry, str)):
            if not name or PurePosixPath(name).is_absolute() or ".." in PurePosixPath(name).parts:
                raise ValueError(f"{name!r} is no path below the project's root")
        return inputs

    @model_validator(mode="after")
    def _known_slices(self) -> "Pipeline":
        ruled = self.gate.slices if self.gate else {}
        if unknown := sorted(set(ruled) - set(self.evaluate.slices)):
            there = ", ".join(self.evaluate.slices) or "none"
            raise ValueError(f"gate.slices: {', '.join(unknown)}: no such slice; evaluate.slices has {there}")
        return self

    @model_validator(mode="after")
    def _no_shadowing(self) -> "Pipeline":
        both = sorted(set(self.parameters) & set(self.dimensions))
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
        if self.tune and self.tune.lanes > 1 and not self.resources.devices:
            raise ValueError("tune.share is a part of a device: set resources.devices to 1, or raise tune.workers")
        return self
