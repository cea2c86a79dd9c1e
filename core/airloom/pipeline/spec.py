"""What a pipeline file may say. This model is the truth; `airloom pipeline schema` prints it."""

from typing import Annotated, Literal

from pydantic import ByteSize, Field, field_validator, model_validator

from airloom.pipeline.candidates import Candidate
from airloom.pipeline.evaluate import EvaluateSection
from airloom.pipeline.gate import GateSection
from airloom.pipeline.section import Duration, Scalar, Section

Name = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]{0,39}$", description="lower case, digits and _, at most 40")]


class DatasetSection(Section):
    """Which dataset, and how its rows are split by hash."""

    name: Name
    split: dict[Literal["train", "validation", "test"], Annotated[float, Field(gt=0, lt=1)]] = Field(
        default={"train": 0.6, "validation": 0.15, "test": 0.25}, description="fractions, summing to 1"
    )

    @field_validator("split")
    @classmethod
    def _whole(cls, split: dict[str, float]) -> dict[str, float]:
        if set(split) != {"train", "validation", "test"} or abs(sum(split.values()) - 1) > 1e-9:
            raise ValueError(f"needs train, validation and test, summing to 1; got {split}")
        return split


class ResourcesSection(Section):
    """What one job may use, and where it runs."""

    devices: int = Field(default=0, ge=0, le=1024, description="whole devices (GPUs), leased all or none")
    processes: int = Field(default=1, ge=1, le=1024, description="ranks that train together, under torchrun")
    threads: int = Field(default=1, ge=1, le=256, description="CPU threads of one process")
    memory: ByteSize = Field(default=ByteSize(0), description="of all its processes, for example 2GiB; 0: no limit")
    time: Duration = Field(default=600, description="wall time of one job")
    pool: str = Field(default="default_pool", description="Airflow pool of the heavy tasks")
    interpreter: str = Field(default="", description="Python of another environment, with airloom in it")
    environment: list[Annotated[str, Field(pattern=r"^[A-Za-z_][A-Za-z0-9_]*$")]] = Field(
        default=[], description="names of further variables that jobs may see, for example credentials"
    )


class Distribution(Section):
    """One dimension of the search space: exactly one of `int`, `float`, `choice`."""

    int_: tuple[int, int] | None = Field(default=None, alias="int")
    float_: tuple[float, float] | None = Field(default=None, alias="float")
    choice: list[Scalar] | None = Field(default=None, min_length=1)
    step: float | None = Field(default=None, gt=0)
    log: bool = False

    @model_validator(mode="after")
    def _one_kind(self) -> "Distribution":
        bounds = self.int_ or self.float_
        if sum(kind is not None for kind in (self.int_, self.float_, self.choice)) != 1:
            raise ValueError("needs exactly one of int: [low, high], float: [low, high], choice: [a, b, …]")
        if bounds and bounds[0] > bounds[1]:
            raise ValueError(f"the range is upside down: {list(bounds)}")
        if self.log and (bounds is None or bounds[0] <= 0 or self.step):
            raise ValueError("log needs a range above 0 and no step")
        return self


class Objective(Section):
    """What a study optimises: a metric that the training function reports."""

    metric: str
    direction: Literal["maximize", "minimize"] = "maximize"


class TuneSection(Section):
    """The study."""

    trials: int = Field(ge=1, le=100_000)
    workers: int = Field(default=1, ge=1, le=64)
    objective: Objective
    sampler: Literal["tpe", "random"] = "tpe"
    pruner: Literal["median", "hyperband", "none"] = "median"
    space: dict[str, Distribution] = Field(min_length=1)
    epochs: int | None = Field(default=None, ge=1, description="epochs of a trial; default: the parameter `epochs`")

    @model_validator(mode="after")
    def _work_for_all(self) -> "TuneSection":
        if self.workers > self.trials:
            raise ValueError(f"{self.workers} workers for {self.trials} trials: give each at least one")
        return self


class DeploySection(Section):
    """How an accepted version comes to serve."""

    steps: list[Literal["champion"]] = Field(default=["champion"], min_length=1, max_length=1)


class StopSection(Section):
    """When a training has had enough; it then ends well, with what it learned and its checkpoint kept."""

    steps: int | None = Field(default=None, ge=1, description="optimizer steps")
    time: Duration | None = Field(default=None, description="wall time in the training's loops, all attempts together")
    device_hours: float | None = Field(default=None, gt=0, description="the same, times the number of processes")


class Pipeline(Section):
    """A pipeline file."""

    pipeline: Name
    dataset: DatasetSection
    train: str = Field(
        default="",
        pattern=r"^([^:]+:[A-Za-z_]\w*)?$",
        description="path/from/project.py:function or module:function; or else a command",
    )
    command: str | list[str] = Field(default="", description="a program of anybody's that trains, instead of `train`")
    parameters: dict[str, Scalar] = Field(default_factory=dict)
    seed: int = Field(default=0, ge=0)
    resources: ResourcesSection = ResourcesSection()
    stop: StopSection = StopSection()
    tune: TuneSection
    candidates: dict[Name, Candidate] = Field(
        default={}, description="several training functions, each tuned and trained; the best one goes to the gate"
    )
    evaluate: EvaluateSection = EvaluateSection()
    gate: GateSection
    deploy: DeploySection = DeploySection()

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

    @model_validator(mode="after")
    def _known_slices(self) -> "Pipeline":
        if unknown := sorted(set(self.gate.slices) - set(self.evaluate.slices)):
            there = ", ".join(self.evaluate.slices) or "none"
            raise ValueError(f"gate.slices: {', '.join(unknown)}: no such slice; evaluate.slices has {there}")
        return self

    @model_validator(mode="after")
    def _no_shadowing(self) -> "Pipeline":
        both = sorted(set(self.parameters) & set(self.tune.space))
        if both:
            raise ValueError(f"{', '.join(both)}: stands in both parameters and tune.space; keep one")
        return self
