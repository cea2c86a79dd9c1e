"""The way of a version to the champion's place: its stages, what it may not do on it, and what was counted."""

from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, Self

from airloom.contracts import Record
from airloom.spec.deploy import DeploySection, LimitsSection, StageSection

CANARY, SHADOW = "canary", "shadow"  # roles, and the aliases of a version that has them


@dataclass(frozen=True)
class Stage(Record):
    """A time in which a version answers beside the champion."""

    role: str  # canary: it answers in the champion's place; shadow: it answers too, and nobody gets it
    share: float  # of the requests
    requests: int  # that it answers at least
    within: float  # seconds that all this may take

    @classmethod
    def of(cls, section: StageSection) -> Self:
        """As a pipeline file says it."""
        role = SHADOW if section.canary is None else CANARY
        return cls(role, float(section.canary or section.shadow or 0), section.requests, section.within)

    def __str__(self) -> str:
        return f"{self.role} {self.share:.0%}" if self.share >= 0.01 else f"{self.role} {self.share:.2%}"


@dataclass(frozen=True)
class Limits(Record):
    """What a version may not do beside the champion; each key as `deploy.roll_back_when` explains it."""

    error_rate: float = 0.02
    slow: float = 0.1
    very_slow: float = 0.05
    p99_ms: float | None = None
    disagreement: float = 0.5
    alpha: float = 0.05

    @classmethod
    def of(cls, section: LimitsSection) -> Self:
        """As a pipeline file says them."""
        return cls(**section.model_dump())


@dataclass(frozen=True)
class Rollout(Record):
    """A version on its way. `at` is the stage that it is in, `since` its begin (ISO 8601, UTC)."""

    version: str
    stages: list[Stage]
    limits: Limits = field(default_factory=Limits)
    at: int = 0
    since: str = ""
    by: str = ""  # who wanted it

    @classmethod
    def of(cls, version: str, section: DeploySection, by: str = "") -> Self:
        """As a pipeline file says it; without a begin yet."""
        return cls(version, [Stage.of(s) for s in section.stages], Limits.of(section.roll_back_when), by=by)

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Self:
        """The inverse of `to_dict`."""
        stages = [Stage.from_dict(stage) for stage in values["stages"]]
        return cls(**{**values, "stages": stages, "limits": Limits.from_dict(values["limits"])})

    @property
    def stage(self) -> Stage:
        """That it is in."""
        return self.stages[self.at]

    @property
    def deadline(self) -> datetime:
        """When the stage has taken too long."""
        return datetime.fromisoformat(self.since) + timedelta(seconds=self.stage.within)

    @property
    def following(self) -> "Rollout | None":
        """The next stage, from now on; None after the last."""
        return self.with_(at=self.at + 1, since=now()) if self.at + 1 < len(self.stages) else None

    def __str__(self) -> str:
        return f"version {self.version} as {self.stage}, stage {self.at + 1} of {len(self.stages)}"


@dataclass(frozen=True)
class Counts(Record):
    """What was counted in one stage; requests of one server or of all. A time is that of a whole request."""

    requests: int = 0  # that the candidate answered, or failed to
    errors: int = 0  # of them
    timed: int = 0  # of them, those compared with the champion's times
    slow: int = 0  # of these, those above its p95
    very_slow: int = 0  # above its p99
    too_slow: int = 0  # above `Limits.p99_ms`
    champion_requests: int = 0
    champion_errors: int = 0
    champion_timed: int = 0
    champion_slow: int = 0
    champion_very_slow: int = 0
    compared: int = 0  # answers that both gave to the same instance
    disagreed: int = 0  # of them
    dropped: int = 0  # requests that were not asked of the other one, as too many were being asked

    def __add__(self, other: "Counts") -> "Counts":
        added = {name: value + getattr(other, name) for name, value in self.to_dict().items()}
        return Counts(**added)


def now() -> str:
    """The time as records have it."""
    return datetime.now(UTC).isoformat(timespec="seconds")
