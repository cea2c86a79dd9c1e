"""What all parts of a pipeline file share."""

import re
from typing import Annotated

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

Scalar = bool | int | float | str


class Section(BaseModel):
    """A part of the file: unknown keys are errors, values do not change after reading."""

    model_config = ConfigDict(extra="forbid", frozen=True)


def _seconds(value: object) -> object:
    """`90`, `90s`, `10m`, `2h` or `1d` as seconds."""
    match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([smhd]?)", value.strip()) if isinstance(value, str) else None
    if isinstance(value, str) and not match:
        raise ValueError("give seconds, or a number with s, m, h or d: 90, 10m, 2h")
    return float(match[1]) * {"": 1, "s": 1, "m": 60, "h": 3600, "d": 86400}[match[2]] if match else value


Duration = Annotated[float, BeforeValidator(_seconds), Field(gt=0, description="seconds, or 90s, 10m, 2h, 1d")]
