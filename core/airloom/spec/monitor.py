"""What `monitor:` of a pipeline file may say: how its champion is watched, and when that starts a run."""

import re
from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, model_validator

from airloom.errors import ConfigError
from airloom.spec.base import Duration, Section, left_out, text_list

MOST_ROWS = 10_000_000
_TIME = re.compile(r"\d{1,9}(\.\d{1,6})?[smhd]")
_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86_400}


def _window(value: object) -> object:
    """A length of time or a number of rows, as text."""
    text = str(value) if isinstance(value, int) and not isinstance(value, bool) else value
    is_rows = isinstance(text, str) and text.isascii() and text.isdigit()
    if is_rows and not 1 <= int(str(text)) <= MOST_ROWS:
        raise ValueError(f"give 1 to {MOST_ROWS:,} rows")
    if not is_rows and not (isinstance(text, str) and _TIME.fullmatch(text) and float(text[:-1])):
        raise ValueError("give a time or a number of rows: 1h, 1d, 1000")
    return text


Window = Annotated[str, BeforeValidator(_window)]


class RetrainSection(Section):
    """When a run of the pipeline is started. What it trains serves only where it is better than the champion."""

    on: Annotated[list[Literal["metric", "drift"]], BeforeValidator(text_list)] = Field(
        default=["metric"],
        min_length=1,
        description="what starts a run: a metric of late labels that surely fell; drift, only where it is named here",
    )
    cooldown: Duration = Field(default=86_400, description="that lies between the starts of two runs at least")
    budget_per_week: int = Field(default=2, ge=1, le=1000, description="runs that are started within seven days")


class MonitorSection(Section):
    """How the champion is watched, by a DAG of its own: `<pipeline>_monitor`."""

    every: Duration = Field(default=86_400, ge=60, description="how often it looks; an alert makes it look at once")
    window: Window = Field(
        default="1d", description="what is compared: a length of time, from midnight UTC on, or a number of rows"
    )
    look_back: Duration = Field(default=2_592_000, description="how old a prediction may be whose label came lately")
    labelled: int = Field(
        default=100, ge=2, description="rows with a label that a window needs before its metric says anything"
    )
    margin: float | None = Field(
        default=None,
        gt=0,
        description="by how much the metric may be worse than on the test rows, in its own unit; left out: 0.02 of an "
        "accuracy, a tenth of an error",
    )
    retrain: RetrainSection | None = Field(
        default=None, json_schema_extra=left_out, description="when a run is started; left out: a person is asked"
    )

    @property
    def starts(self) -> str:
        """What starts a run, for people."""
        if self.retrain is None:
            return "starts no run: a person is asked"
        return f"starts a run on {', '.join(self.retrain.on)}, at most {self.retrain.budget_per_week} a week"

    @model_validator(mode="after")
    def _long_enough(self) -> "MonitorSection":
        if not self.window.isdigit() and float(self.window[:-1]) * _SECONDS[self.window[-1]] > self.look_back:
            raise ValueError(f"window: {self.window} is longer than look_back, so that no window would be whole")
        if self.window.isdigit() and int(self.window) < self.labelled:
            raise ValueError(f"labelled: no window of {self.window} rows has {self.labelled} with a label")
        return self


def of_alarm(values: Mapping[str, Any], where: str = "the pipeline") -> dict[str, Any]:
    """The definition of a run that an alarm started: its gate asks for a better model, whatever its margin is.

    A first model does not pass either: an alarm is about a champion.

    Args:
        values: of the pipeline file.
        where: what they come from, for messages.

    Raises:
        ConfigError: the file has no gate.
    """
    gate = values.get("gate")
    if not isinstance(gate, Mapping):
        hint = "give the file a `gate`; or start the run without a cause"
        raise ConfigError(f"{where}: an alarm starts no run of a pipeline without a gate", hint)
    rule = {name: value for name, value in gate["against_champion"].items() if name != "non_inferior_by"}
    return {**values, "gate": {**gate, "first_model": "refuse", "against_champion": {**rule, "superior": True}}}
