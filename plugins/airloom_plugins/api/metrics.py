"""How models do in service."""

from typing import Any

from fastapi import APIRouter
from pydantic import BaseModel, Field

from airloom.errors import DataError
from airloom.settings import load
from airloom_plugins.api import errors
from airloom_plugins.api.access import Right, needs

router = APIRouter(tags=["metrics"])


class MetricRow(BaseModel):
    """A model version in a role, over the whole time or one span of it."""

    model: str
    version: str
    role: str = Field(description="champion, canary or shadow")
    start: str = Field(description="ISO 8601, UTC")
    requests: int
    errors: dict[str, int] = Field(description="by kind")
    predictions: int = Field(description="rows of the prediction log")
    latency_ms: dict[str, float]
    answers: dict[str, int]
    numbers: dict[str, float]
    scores: dict[str, float]


class Metrics(BaseModel):
    """What is known of a model, as `airloom metrics --json` has it."""

    rows: list[MetricRow]


@router.get(
    "/metrics/{model}", summary="show metrics", response_model=Metrics, responses={404: {}}, **needs(Right.READ)
)
def show(model: str, version: str = "", since: str = "1d", until: str = "", by: str = "") -> Any:
    """Requests, errors, latency and answers of a model by version and role, and with `by` by minute, hour or day.

    `since` and `until` are times (ISO 8601, UTC where they name no zone) or how long ago: `90s`, `10m`, `2h`, `1d`.
    The stack counts all the time; a row is there some seconds after its prediction.
    """
    from airloom.monitoring import metric_query

    settings = load()
    question = metric_query.ask(settings, model, version=version, since=since, until=until, by=by)
    try:
        metric_query.check_known(settings, question)
    except DataError as error:
        return errors.answer(404, str(error).replace("\n  -> ", ": "))
    rows = metric_query.records(metric_query.table(settings, question))
    return {"rows": [row.to_dict() for row in rows]}
