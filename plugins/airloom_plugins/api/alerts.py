"""Alerts of Prometheus, as Alertmanager tells them, and the runs that they start."""

import time
from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Depends, Query
from pydantic import BaseModel, Field, StringConstraints

from airloom.monitoring import alerts
from airloom.monitoring.alerts import FIRING, Alert, Start
from airloom.names import PIPELINE, shown_model
from airloom.settings import load
from airloom_operators.monitor import monitor_id
from airloom_plugins.api.access import Caller, Right, caller, needs
from airloom_plugins.api.errors import answer
from airloom_plugins.api.moments import seconds

MOST = 10_000  # alerts in a notification
TOLD = 50  # of a run's causes that its conf has
LONGEST_CAUSE = 500  # characters of these in words
router = APIRouter(tags=["alerts"])
Text = Annotated[str, StringConstraints(pattern=r"^[^\x00]*$")]  # a NUL PostgreSQL does not keep


class AlertmanagerAlert(BaseModel):
    """One alert of a notification."""

    status: Literal["firing", "resolved"]
    labels: dict[Text, Text]
    annotations: dict[Text, Text] = {}
    startsAt: datetime
    endsAt: datetime | None = None


class Notification(BaseModel):
    """What Alertmanager's webhook sends, version 4; what else it has is left alone."""

    version: Literal["4"]
    alerts: list[AlertmanagerAlert] = Field(max_length=MOST)


class Taken(BaseModel):
    """What was done about a notification."""

    alerts: int
    started: list[str] = Field(description="runs, as DAG/run")
    refused: dict[str, str] = Field(description="why alerts started nothing, by their name")


class Seen(BaseModel):
    """What came, the last first."""

    alerts: list[dict[str, Any]]


class Unstartable(Exception):
    """Why an alert starts nothing."""


def dag_of(alert: Alert, installation: str, problem_of: Callable[[str], str]) -> str:
    """The DAG that an alert starts: the monitor of its pipeline, by its label `pipeline`, else `model`.

    Args:
        alert: that fires.
        installation: whose models are called by their short names.
        problem_of: says why a DAG cannot be started; empty where it can.

    Raises:
        Unstartable: it names none, or its DAG cannot be started.
    """
    name = alert.labels.get("pipeline") or shown_model(alert.labels.get("model", ""), installation)
    if not PIPELINE.fullmatch(name):
        raise Unstartable(f"its labels name no pipeline of this installation: {name[:80]!r}")
    dag = monitor_id(name)
    if problem := problem_of(dag):
        raise Unstartable(problem)
    return dag


@router.post("/alerts", summary="take alerts", response_model=Taken, **needs(Right.ALERTS))
def take(told: Notification, who: Annotated[Caller, Depends(caller)]) -> Any:
    """Take a notification of Alertmanager: record its alerts, and start the monitors of the pipelines that they name.

    An alert that fires starts one run at most, however often it is told, and all alerts together at most
    `alert_runs_per_hour` of a pipeline. One that is over the budget may start a run when it is told again.
    """
    settings = load()
    came = [_alert(one) for one in told.alerts]
    known: dict[str, str] = {}

    def problem_of(dag: str) -> str:
        if dag not in known:
            known[dag] = _problem_of(dag)
        return known[dag]

    dags, refused = {}, {}
    for alert in (alert for alert in came if alert.status == FIRING):
        try:
            dags[alert.cause] = dag_of(alert, settings.installation, problem_of)
        except Unstartable as error:
            refused[alert.cause] = str(error)
    settings.make_home()
    address = settings.database_address
    starts = alerts.receive(address, came, dags, refused, settings.alert_runs_per_hour)
    failed = {}
    for start in starts:
        if why := _start(start):
            failed[f"{start.dag}/{start.run}"] = why
        alerts.done(address, start, why)
    who.subject = ", ".join(sorted({alert.name for alert in came}))
    started = [name for start in starts if (name := f"{start.dag}/{start.run}") not in failed]
    who.detail = f"{len(came)} alerts; started: {', '.join(started) or 'nothing'}"
    if failed:  # Alertmanager tries again
        who.detail += f"; failed: {failed}"
        return answer(503, f"Airflow did not start {failed}", "not-started")
    names = {alert.cause: alert.name for alert in came}
    return {"alerts": len(came), "started": started, "refused": {names[cause]: why for cause, why in refused.items()}}


@router.get("/alerts", summary="show alerts", response_model=Seen, **needs(Right.READ))
def show(since: str = "", limit: Annotated[int, Query(ge=1, le=1000)] = 100) -> Any:
    """The alerts that came, the last first, and what was done about each."""
    settings = load()
    return {"alerts": [one.to_dict() for one in alerts.seen(settings.database_address, seconds(since), limit)]}


def said(alerts: Sequence[Alert]) -> str:
    """Alerts in their own words: each with its name and summary, as many as there is room for."""
    each = dict.fromkeys(": ".join(filter(None, (one.name, one.annotations.get("summary", "")))) for one in alerts)
    text = "; ".join(filter(None, each)) or "an alert without a name"
    return text if len(text) <= LONGEST_CAUSE else f"{text[: LONGEST_CAUSE - 1]}…"


def _alert(one: AlertmanagerAlert) -> Alert:
    ends = one.endsAt.timestamp() if one.endsAt and one.status != FIRING else None
    return Alert(one.labels, one.startsAt.timestamp(), one.status, one.annotations, ends)


def _problem_of(dag: str) -> str:
    """Why a DAG cannot be started; empty where it can. This is Airflow's own server, which has its database."""
    from airflow.models.dag import DagModel
    from airflow.utils.session import create_session
    from sqlalchemy import select

    with create_session() as session:
        found = session.scalar(select(DagModel).where(DagModel.dag_id == dag, ~DagModel.is_stale))
        if found is None:
            return f"there is no DAG {dag}"
        if found.has_import_errors:
            return f"the file of DAG {dag} cannot be read"
        return f"DAG {dag} is paused" if found.is_paused else ""


def _start(start: Start) -> str:
    """Start a run, unless it is there already; returns why that failed."""
    from airflow.api.common.trigger_dag import trigger_dag
    from airflow.exceptions import DagRunAlreadyExists
    from airflow.utils.types import DagRunTriggeredByType

    causes = [alert.to_dict() for alert in start.alerts[:TOLD]]
    conf = {"cause": said(start.alerts), "alerts": causes, "alerts_in_all": len(start.alerts), "at": time.time()}
    by = DagRunTriggeredByType.REST_API
    try:
        trigger_dag(start.dag, run_id=start.run, conf=conf, triggered_by=by, triggering_user_name="alertmanager")
    except DagRunAlreadyExists:
        return ""
    except Exception as error:  # Airflow refuses in many ways, and each is told
        return f"{type(error).__name__}: {error}"[:500]
    return ""
