"""A pipeline with several candidates: each is the same file with its own training function, parameters and space."""

from typing import Any

from pydantic import Field

from airloom.errors import ConfigError
from airloom.spec.base import ParameterName, Scalar, Section


class Candidate(Section):
    """What one candidate has of its own; everything else it shares with the others."""

    train: str = Field(default="", description="as the pipeline's own `train`")
    command: str | list[str] = Field(default="", description="or its `command`")
    parameters: dict[ParameterName, Scalar] = Field(default={}, description="over the pipeline's own")
    space: dict[str, Any] = Field(default={}, description="instead of tune.space")


def names(values: dict[str, Any]) -> list[str]:
    """The candidates of a file; none where it has no such section, or one that is no mapping."""
    section = values.get("candidates")
    return [str(name) for name in section] if isinstance(section, dict) else []


def values_of(values: dict[str, Any], candidate: str) -> dict[str, Any]:
    """The file's values as the candidate has them.

    Raises:
        ConfigError: there is no such candidate.
    """
    if candidate not in names(values):
        raise ConfigError(f"there is no candidate {candidate!r}", f"there are: {', '.join(names(values)) or 'none'}")
    own = values["candidates"][candidate]
    own = own if isinstance(own, dict) else {}
    merged = {key: value for key, value in values.items() if key not in ("candidates", "train", "command")}
    merged |= {key: own[key] for key in ("train", "command") if key in own}
    merged["parameters"] = {**(values.get("parameters") or {}), **(own.get("parameters") or {})}
    if own.get("space") and isinstance(values.get("tune"), dict):
        shared = {key: value for key, value in values["tune"].items() if key != "space_function"}
        merged["tune"] = {**shared, "space": own["space"]}
    return merged
