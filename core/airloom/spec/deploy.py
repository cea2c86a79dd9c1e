"""How an accepted version comes to serve: the key `deploy` of a pipeline file."""

import re
from typing import Annotated, Literal

from pydantic import BeforeValidator, Discriminator, Field, Tag, field_validator, model_validator

from airloom.spec.base import Duration, Section


def _share(value: object) -> object:
    """`10%` as 0.1."""
    match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*%", value.strip()) if isinstance(value, str) else None
    if isinstance(value, str) and not match:
        raise ValueError("give a share, 0.1 or 10%")
    return float(match[1]) / 100 if match else value


Share = Annotated[float, BeforeValidator(_share), Field(gt=0, le=1, description="0.1 or 10%")]


class StageSection(Section):
    """A time in which a version answers beside the champion: exactly one of `shadow`, `canary`."""

    shadow: Share | None = Field(default=None, description="share of the requests that it answers too, unseen")
    canary: Share | None = Field(default=None, description="share of the requests that it answers in its place")
    requests: int = Field(default=500, ge=1, description="that it answers at least before the next stage")
    within: Duration = Field(default=3600, description="how long it may take; then the champion stays")

    @model_validator(mode="after")
    def _one_role(self) -> "StageSection":
        if (self.shadow is None) == (self.canary is None):
            raise ValueError("needs exactly one of shadow, canary")
        return self


def _kind(step: object) -> str:
    return "champion" if isinstance(step, str) else "stage"


# With a name for each kind a mistake is told of the one that was meant.
DeployStep = Annotated[
    Annotated[Literal["champion"], Tag("champion")] | Annotated[StageSection, Tag("stage")], Discriminator(_kind)
]


class LimitsSection(Section):
    """What a version may not do beside the champion. There is a limit also where the file says nothing of it."""

    error_rate: Share = Field(default=0.02, description="more of its requests may fail, by less than this")
    slow: Share = Field(default=0.1, description="more of them may take longer than the champion's p95, by less")
    very_slow: Share = Field(default=0.05, description="more of them may take longer than the champion's p99, by less")
    p99_ms: float | None = Field(default=None, gt=0, description="99 of 100 requests take no longer")
    disagreement: Share = Field(
        default=0.5, description="share of the answers that differ from the champion's, numbers by more than 5 %"
    )
    alpha: float = Field(
        default=0.05, gt=0, lt=0.5, description="how often chance alone may decide, however often one looks"
    )


class DeploySection(Section):
    """How an accepted version comes to serve."""

    steps: list[DeployStep] = Field(
        default=["champion"], min_length=1, max_length=8, description="what an accepted version becomes, in order"
    )
    by_hand: Literal["adopt", "evidence"] = Field(
        default="adopt",
        description="a version that a person gives the alias `champion` in MLflow serves; with `evidence` one that the "
        "gate never let pass is put back",
    )
    roll_back_when: LimitsSection = Field(default=LimitsSection(), description="what takes it back on the way")

    @field_validator("steps")
    @classmethod
    def _ends(cls, steps: list[DeployStep]) -> list[DeployStep]:
        if steps[-1] != "champion" or "champion" in steps[:-1]:
            raise ValueError("the last step, and no other, is champion")
        return steps

    @property
    def stages(self) -> list[StageSection]:
        """What comes before the champion."""
        return [step for step in self.steps if isinstance(step, StageSection)]

    def __str__(self) -> str:
        roles = [("canary", stage.canary) if stage.canary else ("shadow", stage.shadow) for stage in self.stages]
        shown = [f"{role} {share:.4g}" for role, share in roles]
        return " → ".join([*shown, "champion"])
