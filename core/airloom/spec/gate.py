"""What `gate:` of a pipeline file may say: the rules that let a candidate through."""

from typing import Literal

from pydantic import Field, model_validator

from airloom.spec.base import Duration, Section
from airloom.spec.tasks import is_share

COSTS = {"latency_ms", "size_mb"}  # which say nothing of how good the answers are
Method = Literal["paired_bootstrap", "score", "mcnemar"]


class Planned(Section):
    """What the test split is planned to show: with `power`, a candidate that is truly so good passes."""

    effect: float = Field(default=0.0, description="true gain over the champion, in the metric's own unit")
    rows: int | None = Field(default=None, ge=2, description="rows of the test split; default: those of the last one")
    power: float = Field(default=0.8, gt=0, lt=1, description="with which such a candidate passes")


class AgainstChampion(Section):
    """The paired, statistical comparison with what serves."""

    metric: str = Field(
        default="accuracy",
        pattern=r"^[A-Za-z_][\w.]*$",
        description="in which they are compared: a mean over rows (accuracy, log_loss, mae, mse, …), one of all rows "
        "(macro_f1, auc, mean_iou, …), or one's own of evaluate.metrics; see docs/how-to/tasks.md",
    )
    group: str = Field(
        default="",
        description="a column of the dataset: rows with one value of it belong together, and are drawn together",
    )
    non_inferior_by: float | None = Field(
        default=None, gt=0, description="the candidate may be worse by less than this, in the metric's own unit"
    )
    superior: bool = Field(default=False, description="the candidate must be better")
    method: Method = Field(default="paired_bootstrap", description="score and mcnemar compare shares of right answers")
    alpha: float = Field(default=0.05, gt=0, lt=0.5, description="one-sided; all tries on one test split share it")
    resamples: int = Field(default=10_000, ge=100, le=1_000_000, description="of the bootstrap")
    planned: Planned = Field(default=Planned(), description="what `airloom gate simulate` looks at")

    @property
    def margin(self) -> float:
        """By how much the candidate may be worse; 0 where it must be better."""
        return self.non_inferior_by or 0.0

    @model_validator(mode="after")
    def _one_question(self) -> "AgainstChampion":
        if self.superior == (self.non_inferior_by is not None):
            raise ValueError("needs either non_inferior_by: 0.02 or superior: true")
        if self.method == "mcnemar" and not (self.superior and self.metric == "accuracy"):
            raise ValueError("mcnemar tests whether accuracy is better: it needs superior: true and metric: accuracy")
        if self.method == "score" and self.metric != "accuracy":
            raise ValueError(f"score compares shares of right answers; for {self.metric} use paired_bootstrap")
        if self.group and self.method != "paired_bootstrap":
            raise ValueError(f"{self.method} takes each row for itself: with group use paired_bootstrap")
        _shares(self.metric, {"non_inferior_by": self.non_inferior_by, "planned.effect": self.planned.effect})
        return self


def _shares(metric: str, margins: dict[str, float | None]) -> None:
    """Right answers are a share: a margin of 3 would mean percent, and let every model pass.

    Raises:
        ValueError: a margin of a share is none.
    """
    for name, value in margins.items():
        if is_share(metric) and value is not None and not -1 < value < 1:
            raise ValueError(f"{name} is {value:g}; {metric} is a share of 1: give 0.03 for 3 percent")


class SliceRule(Section):
    """What must hold on one slice of the test split."""

    at_least: dict[str, float] = Field(default={}, description="absolute minimum by metric")
    non_inferior_by: float | None = Field(
        default=None, gt=0, description="against the champion, on this slice, in the unit of against_champion.metric"
    )

    @model_validator(mode="after")
    def _some_rule(self) -> "SliceRule":
        if not self.at_least and self.non_inferior_by is None:
            raise ValueError("a slice needs at_least: {metric: value} or non_inferior_by: 0.05")
        return self


class GateSection(Section):
    """The rules that let a candidate through. No evidence, no promotion."""

    at_least: dict[str, float] = Field(default={}, description="absolute minimum by metric, first model included")
    at_most: dict[str, float] = Field(
        default={}, description="greatest value by metric: latency_ms, size_mb, log_loss, perplexity, mae, mse"
    )
    against_champion: AgainstChampion = Field(description="the statistical comparison with what serves")
    slices: dict[str, SliceRule] = Field(default={}, description="rules by name of a slice in evaluate.slices")
    unknown_classes: Literal["count_as_wrong", "refuse"] = Field(
        default="count_as_wrong",
        description="a class that candidate or champion does not know, which is said: its rows are answered wrongly by "
        "that model, or the candidate is refused",
    )
    first_model: Literal["refuse", "minimums"] = Field(
        default="refuse", description="without a champion to compare with: refuse, or let at_least and at_most decide"
    )
    override: Literal["never", "ask"] = Field(
        default="never", description="ask: a person may approve a refused candidate in Airflow, with a reason"
    )
    override_within: Duration = Field(default=86_400, description="how long Airflow asks; then the refusal stands")

    @property
    def named_metrics(self) -> set[str]:
        """The metrics that rules name."""
        return {*self.at_least, *self.at_most, *(name for rule in self.slices.values() for name in rule.at_least)}

    @model_validator(mode="after")
    def _some_minimum(self) -> "GateSection":
        if not self.at_least and not set(self.at_most) - COSTS:
            raise ValueError("needs at_least: {accuracy: 0.85}, or at_most of a metric of errors: {log_loss: 0.4}")
        return self

    @model_validator(mode="after")
    def _margins(self) -> "GateSection":
        margins = {f"slices.{name}.non_inferior_by": rule.non_inferior_by for name, rule in self.slices.items()}
        _shares(self.against_champion.metric, margins)
        return self
