"""What `tune:` of a pipeline file may say. Only what needs no Optuna is checked here; see `airloom.tuning.samplers`."""

from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, ConfigDict, Field, field_validator, model_validator

from airloom.spec.base import Duration, MetricName, ParameterName, Scalar, Section

SAMPLERS = Literal["tpe", "random", "gp", "qmc", "grid", "brute_force", "nsgaii", "nsgaiii", "cmaes"]
PRUNERS = Literal["median", "percentile", "hyperband", "successive_halving", "threshold", "patient", "wilcoxon", "none"]
EARLY = 5  # failures before any trial has finished that end a study: nothing works


class Distribution(Section):
    """One dimension of the search space: exactly one of `int`, `float`, `choice`, `value`."""

    int_: tuple[int, int] | None = Field(default=None, alias="int", description="whole numbers, both ends included")
    float_: tuple[float, float] | None = Field(default=None, alias="float", description="numbers, both ends included")
    choice: list[Scalar] | None = Field(default=None, min_length=1, description="one of these values")
    value: Scalar | None = Field(default=None, description="fixed, not searched")
    step: float | None = Field(default=None, gt=0, description="between the values of a range")
    log: bool = Field(default=False, description="search a range above 0 by its logarithm")
    when: dict[str, Scalar | list[Scalar]] = Field(
        default={}, description="the other dimensions' values with which this one exists: {optimizer: sgd}"
    )

    @model_validator(mode="after")
    def _one_kind(self) -> "Distribution":
        bounds = self.int_ or self.float_
        if sum(kind is not None for kind in (self.int_, self.float_, self.choice, self.value)) != 1:
            raise ValueError("needs exactly one of int: [low, high], float: [low, high], choice: [a, b, …], value: a")
        if bounds and bounds[0] > bounds[1]:
            raise ValueError(f"the range is upside down: {list(bounds)}")
        if self.log and (bounds is None or bounds[0] <= 0 or self.step):
            raise ValueError("log needs a range above 0 and no step")
        if self.step and (bounds is None or (self.int_ and self.step != int(self.step))):
            raise ValueError("step needs a range, and a whole number where that is int")
        if same := _equal(self.choice or []):
            raise ValueError(
                f"choice has values that are equal, and could not be told apart: {same[0]!r} and {same[1]!r}"
            )
        return self

    def holds(self, values: dict[str, Any]) -> bool:
        """Whether this dimension exists beside the values of the others."""
        return all(
            name in values and values[name] in (wanted if isinstance(wanted, list) else [wanted])
            for name, wanted in self.when.items()
        )


def _equal(values: list[Any]) -> tuple[Any, Any] | None:
    """Two of the values that Optuna takes for one, as Python does: 1, true and 1.0."""
    seen: dict[Any, Any] = {}
    for value in values:
        if value in seen:
            return seen[value], value
        seen[value] = value
    return None


class Objective(Section):
    """What a study optimises: a metric that the training function reports."""

    metric: MetricName = Field(description="that the training function reports")
    direction: Literal["maximize", "minimize"] = Field(default="maximize", description="what is better")


class Bound(Section):
    """At least, at most, or both."""

    at_least: float | None = Field(default=None, description="smallest value that is taken")
    at_most: float | None = Field(default=None, description="greatest value that is taken")

    def holds(self, value: float) -> bool:
        """Whether the value keeps it."""
        above = self.at_least is None or value >= self.at_least
        return above and (self.at_most is None or value <= self.at_most)


class Pick(Section):
    """Which trial of the Pareto front is trained to the end."""

    best: str = Field(description="the objective whose best value decides")
    where: dict[str, Bound] = Field(default={}, description="bounds on the objectives: {latency_ms: {at_most: 5}}")


class TuneBudget(Section):
    """What a study may use; over it, it ends with the trials that are finished."""

    time: Duration | None = Field(default=None, description="wall time while at least one worker works")
    device_seconds: float | None = Field(default=None, gt=0, description="time of all trials together, lost ones too")


class _Named(Section):
    model_config = ConfigDict(extra="allow", frozen=True)

    @property
    def options(self) -> dict[str, Any]:
        """What is passed on to Optuna's class."""
        return dict(self.model_extra or {})


class Sampler(_Named):
    """One of Optuna's samplers, with its own options."""

    name: SAMPLERS = Field(description="of the sampler; any other key is an option of Optuna's class")


class Pruner(_Named):
    """One of Optuna's pruners, with its own options."""

    name: PRUNERS = Field(description="of the pruner; any other key is an option of Optuna's class")


def _named(value: object) -> object:
    return {"name": value} if isinstance(value, str) else value


class TuneSection(Section):
    """The study."""

    trials: int = Field(ge=1, le=100_000, description="that the study ends with, whoever is killed")
    workers: int = Field(default=1, ge=1, le=64, description="that run trials side by side")
    budget: TuneBudget = Field(default=TuneBudget(), description="over which the study ends early")
    failures: int | None = Field(
        default=None,
        ge=0,
        description="failures by a trial's own fault that a study survives; default: half its trials",
    )
    objective: Objective | None = Field(default=None, description="the metric that is optimised")
    objectives: list[Objective] = Field(
        default=[], description="several, instead of `objective`; then `pick` is needed"
    )
    pick: Pick | None = Field(
        default=None, description="which of several objectives' best trials is trained to the end"
    )
    sampler: Annotated[Sampler, BeforeValidator(_named)] = Field(
        default=Sampler(name="tpe"), description="how parameters are chosen: a name, or {name: …} with options"
    )
    pruner: Annotated[Pruner, BeforeValidator(_named)] = Field(
        default=Pruner(name="median"), description="which trials end early: a name, or {name: …} with options"
    )
    space: dict[ParameterName, Distribution] = Field(default={}, description="dimensions by name")
    space_function: str = Field(
        default="",
        pattern=r"^([^:]+:[A-Za-z_]\w*)?$",
        description="instead of `space`: path.py:function or module:function, from Optuna's trial to parameters",
    )
    epochs: int | None = Field(default=None, ge=1, description="epochs of a trial; default: the parameter `epochs`")
    warm_start: bool | list[str] = Field(
        default=False, description="begin with the best parameters of earlier studies: all of this pipeline, or these"
    )
    share: float = Field(default=1, gt=0, le=1, description="of a device that one trial uses: 0.5 runs two on each")

    @property
    def targets(self) -> list[Objective]:
        """The objectives, one or several."""
        return [self.objective] if self.objective else self.objectives

    @property
    def pruning(self) -> Pruner:
        """The pruner; Optuna prunes studies with one objective only."""
        return self.pruner if len(self.targets) == 1 else Pruner(name="none")

    @property
    def dimensions(self) -> dict[str, Distribution]:
        """The search space where the file has it, parents before the dimensions that depend on them."""
        return ordered(self.space)

    @property
    def lanes(self) -> int:
        """Trials that one worker runs at once, on one device."""
        return int(1 / self.share + 1e-9)

    @property
    def most_failures(self) -> int:
        """Failures by own fault that the study survives."""
        return max(EARLY - 1, self.trials // 2) if self.failures is None else self.failures

    @field_validator("space")
    @classmethod
    def _conditions(cls, space: dict[str, Distribution]) -> dict[str, Distribution]:
        ordered(space)
        return space

    @model_validator(mode="after")
    def _one_space(self) -> "TuneSection":
        if bool(self.space) == bool(self.space_function):
            raise ValueError(
                "the search space is empty or given twice: give either tune.space: {lr: {float: [low, high]}, …} "
                "or tune.space_function: path.py:function"
            )
        return self

    @model_validator(mode="after")
    def _targets(self) -> "TuneSection":
        names = [target.metric for target in self.targets]
        if bool(self.objective) == bool(self.objectives) or len(set(names)) < len(names):
            raise ValueError("needs either objective: {metric: …} or objectives: [{metric: …}, …], each metric once")
        if len(names) > 1 and self.pick is None:
            raise ValueError(
                f"several objectives need pick: {{best: {names[0]}, where: {{{names[1]}: {{at_most: …}}}}}}"
            )
        asked = [self.pick.best, *self.pick.where] if self.pick else []
        if unknown := sorted(set(asked) - set(names)):
            raise ValueError(f"pick names {', '.join(unknown)}; the objectives are {', '.join(names)}")
        if len(names) > 1 and "pruner" in self.model_fields_set and self.pruner.name != "none":
            raise ValueError("pruning needs one objective: leave pruner out, or set it to none")
        return self

    @model_validator(mode="after")
    def _work_for_all(self) -> "TuneSection":
        if self.workers > self.trials:
            raise ValueError(f"{self.workers} workers for {self.trials} trials: give each at least one")
        return self


def ordered(space: dict[str, Distribution]) -> dict[str, Distribution]:
    """The dimensions, each after those that its `when` names.

    Raises:
        ValueError: `when` names no dimension or a value that it cannot have, or goes round in a circle.
    """
    for name, dimension in space.items():
        for parent, wanted in dimension.when.items():
            if parent not in space:
                raise ValueError(f"{name}.when: there is no dimension {parent!r}, there are {', '.join(space)}")
            allowed = space[parent].choice
            bad = [v for v in (wanted if isinstance(wanted, list) else [wanted]) if allowed and v not in allowed]
            if bad:
                raise ValueError(f"{name}.when: {parent} is never {bad[0]!r}, it is one of {allowed}")
    done: dict[str, Distribution] = {}
    while len(done) < len(space):
        free = {n: d for n, d in space.items() if n not in done and set(d.when) <= set(done)}
        if not free:
            raise ValueError(f"when goes round in a circle: {', '.join(n for n in space if n not in done)}")
        done |= free
    return done
