"""What all parts of a pipeline file share."""

import math
import re
from functools import partial
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field

from airloom.errors import NameRefused
from airloom.names import check_logged


def _plain(value: object) -> object:
    """One message instead of one for each type that a value could have had."""
    if not isinstance(value, bool | int | float | str):
        raise ValueError("give a number, a text, true or false")
    if isinstance(value, float) and not math.isfinite(value):
        raise ValueError("give a finite number")
    return value


def _logged(kind: str, name: str) -> str:
    try:
        return check_logged(kind, name)
    except NameRefused as error:
        raise ValueError(f"{error.message}; {error.hint}") from None


Scalar = Annotated[bool | int | float | str, BeforeValidator(_plain)]
ParameterName = Annotated[str, AfterValidator(partial(_logged, "parameter"))]
MetricName = Annotated[str, Field(min_length=1), AfterValidator(partial(_logged, "metric"))]


class Section(BaseModel):
    """A part of the file: unknown keys are errors, values do not change after reading."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


def _seconds(value: object) -> object:
    """`90`, `90s`, `10m`, `2h` or `1d` as seconds."""
    match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([smhd]?)", value.strip()) if isinstance(value, str) else None
    if isinstance(value, str) and not match:
        raise ValueError("give seconds, or a number with s, m, h or d: 90, 10m, 2h")
    return float(match[1]) * {"": 1, "s": 1, "m": 60, "h": 3600, "d": 86400}[match[2]] if match else value


Duration = Annotated[float, BeforeValidator(_seconds), Field(gt=0, description="seconds, or 90s, 10m, 2h, 1d")]


def text_list(value: object) -> object:
    """A text as a list of one."""
    return [value] if isinstance(value, str) else value


def left_out(schema: dict[str, Any]) -> None:
    """Of a schema: a key that may be left out, but stands there with a value where it stands there."""
    schema |= schema.pop("anyOf")[0]
    del schema["default"]
