"""Who changed what through this API."""

from typing import Annotated, Any

from fastapi import APIRouter, Query
from pydantic import BaseModel

from airloom import audit
from airloom.settings import load
from airloom_plugins.api.access import Right, needs
from airloom_plugins.api.moments import seconds

router = APIRouter(tags=["audit"])


class AuditRow(BaseModel):
    """One change, or one that was refused."""

    id: int
    at: float
    who: str
    action: str
    object: str
    outcome: str
    detail: str


class Audit(BaseModel):
    """The newest first."""

    rows: list[AuditRow]


@router.get("/audit", summary="show the audit", response_model=Audit, **needs(Right.ADMINISTER))
def show(since: str = "", limit: Annotated[int, Query(ge=1, le=1000)] = 100) -> Any:
    """Each change through this API: who, when, what, which object, and how it ended."""
    return {"rows": [row.to_dict() for row in audit.rows(load().database_address, seconds(since), limit)]}
