"""Late ground truth of predictions."""

from typing import Annotated, Any

from fastapi import APIRouter, Depends
from pydantic import BaseModel, ConfigDict, Field

from airloom.settings import load
from airloom_plugins.api.access import Caller, Right, caller, needs

MOST = 50_000  # labels in a request
router = APIRouter(tags=["labels"])


class NewLabel(BaseModel):
    """What a prediction should have said."""

    model_config = ConfigDict(extra="forbid")
    id: str | int = Field(description="of the prediction; with `by` a key of one's own")
    label: str | int | float | bool = Field(description="as the server answers: a class, or a number")
    time: str | None = Field(default=None, description="when it was known, UTC where it names no zone; now if left out")
    source: str | None = Field(default=None, description="who says so, where it is not that of the request")


class NewLabels(BaseModel):
    """Labels, of which all are kept or none."""

    model_config = ConfigDict(extra="forbid")
    labels: list[NewLabel] = Field(min_length=1, max_length=MOST)
    source: str = Field(default="", description="who says so; the user who asks if left out")
    by: str = Field(default="id", description="id, request (X-Request-Id), or input:COLUMN of the logged inputs")
    model: str = Field(default="", description="whose keys these are; an id tells it")


class AddedLabels(BaseModel):
    """What became of them, as `airloom labels add --json` has it."""

    added: int
    known: int = Field(description="had been said before, by the same source")
    otherwise: int = Field(description="of the new ones, those that say something else than another label")
    unknown: int = Field(description="ids without a row in the prediction log; their labels wait for it")
    unknown_ids: list[str]
    notes: list[str]


@router.post("/labels", summary="add labels", response_model=AddedLabels, **needs(Right.OPERATE))
def add(new: NewLabels, who: Annotated[Caller, Depends(caller)]) -> Any:
    """Add labels that came late, all or none; to add the same again changes nothing."""
    from airloom.quality import late_labels

    who.subject = new.model or "predictions"
    rows = [(label.id, label.label, label.time, label.source) for label in new.labels]
    added = late_labels.add_rows(load(), rows, source=new.source or who.who, model=new.model, by=new.by)
    who.detail = f"{added.added} of {len(new.labels)} labels added, said by {new.source or who.who}"
    return added.to_dict()


class Labelled(BaseModel):
    """What labels say, as `airloom labels show --json` has it."""

    versions: list[dict[str, Any]]


@router.get("/labels/{model}", summary="show labels", response_model=Labelled, **needs(Right.READ))
def show(
    model: str, version: str = "", since: str = "", until: str = "", window: str = "1d", rule: str = "newest"
) -> Any:
    """Metrics by label of a model's versions, how late labels come, and where they contradict each other.

    `since` and `until` are of the predictions: times, or how long ago: `2h`, `7d`. `window` is `1h`, `7d`, or a number
    of rows. `rule` says which label counts: `newest` or `oldest` of the most trusted source, or `agreed`.
    """
    from airloom.monitoring.moments import moment
    from airloom.quality import by_label
    from airloom.quality.window import parse

    name = f"{model}/{version}" if version else model
    span = {"since": moment(since, "since"), "until": moment(until, "until")}
    measured = by_label.measure(load(), name, **span, window=parse(window), rule=rule)
    return {"versions": [one.to_dict() for one in measured]}
