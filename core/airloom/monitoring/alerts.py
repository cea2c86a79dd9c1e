"""Alerts that came from outside, and the runs that they started; see docs/adr/0064.

An alert that fires is one cause, by its labels and the time at which it began, however often and by however many
Alertmanagers it is told. A cause starts at most one run, and a DAG at most so many within an hour. That is decided in
one transaction, before Airflow is asked; the run's id is made of its causes, so that to ask again starts no second one.
"""

import hashlib
import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from typing import Any

from sqlalchemy import (
    Column,
    Connection,
    Engine,
    Float,
    Index,
    Integer,
    MetaData,
    String,
    Table,
    Text,
    delete,
    func,
    insert,
    select,
    update,
)
from sqlalchemy.exc import IntegrityError

from airloom import database
from airloom.contracts import Record

FIRING, RESOLVED = "firing", "resolved"
CLAIMED, STARTED, FAILED, OVER, REFUSED, NONE = "claimed", "started", "failed", "over budget", "refused", "none"
HOUR = 3600.0
AGAIN = 60.0  # seconds after which a claim whose process died is taken up
KEPT = 90 * 86_400.0  # seconds that an alert is kept after it was told last
LOCKED = 10.0  # seconds to wait for another writer of SQLite
TOGETHER = 500  # causes in one question
_METADATA = MetaData()
ALERTS = Table(
    "alerts",
    _METADATA,
    Column("cause", String(64), primary_key=True),
    Column("labels", Text, nullable=False),  # JSON, as the annotations
    Column("annotations", Text, nullable=False),
    Column("starts", Float(53), nullable=False),  # seconds since 1970, as all times here
    Column("ends", Float(53)),
    Column("status", String(16), nullable=False),
    Column("first", Float(53), nullable=False),
    Column("last", Float(53), nullable=False, index=True),
    Column("times", Integer, nullable=False),
    Column("outcome", String(16), nullable=False),
    Column("reason", Text, nullable=False),
    Column("dag", String(250), nullable=False),
    Column("run", String(100), nullable=False),
)
RUNS = Table(
    "alert_runs",
    _METADATA,
    Column("run", String(100), primary_key=True),
    Column("dag", String(250), nullable=False),
    Column("at", Float(53), nullable=False),
    Column("state", String(16), nullable=False),
    Index("alert_runs_of_dag", "dag", "at"),
)
WRITER = Table(
    "alert_writer",
    _METADATA,
    Column("id", Integer, primary_key=True, autoincrement=False),
    Column("turns", Integer, nullable=False),
)


@dataclass(frozen=True)
class Alert(Record):
    """An alert as it was told.

    Attributes:
        labels: which tell it from others.
        starts: seconds since 1970 when it began to fire.
        status: firing or resolved.
        annotations: what it says to people.
        ends: seconds since 1970; None while it fires.
    """

    labels: dict[str, str]
    starts: float
    status: str = FIRING
    annotations: dict[str, str] = field(default_factory=dict)
    ends: float | None = None

    @property
    def name(self) -> str:
        """Of its rule."""
        return self.labels.get("alertname", "")

    @property
    def cause(self) -> str:
        """A digest of its labels and its begin."""
        said = json.dumps([sorted(self.labels.items()), self.starts])
        return hashlib.sha256(said.encode()).hexdigest()


@dataclass(frozen=True)
class SeenAlert(Record):
    """An alert, and what was done about it.

    Attributes:
        alert: as it was told last.
        first: seconds since 1970 when it came first.
        last: when it came last.
        times: how often it came.
        outcome: claimed, started, failed, over budget, refused, or none where it was resolved at its first coming.
        reason: why nothing was started.
        dag: that it starts.
        run: of the DAG.
    """

    alert: Alert
    first: float
    last: float
    times: int
    outcome: str
    reason: str
    dag: str
    run: str


@dataclass(frozen=True)
class Start:
    """A run that is to be started now.

    Attributes:
        dag: its id.
        run: the id of the run.
        alerts: its causes.
    """

    dag: str
    run: str
    alerts: tuple[Alert, ...]


@cache
def _engine(address: str) -> Engine:
    made = database.engine(address, _METADATA, LOCKED)
    try:
        with made.begin() as connection:
            if connection.execute(select(WRITER.c.id)).first() is None:
                connection.execute(insert(WRITER).values(id=1, turns=0))
    except IntegrityError:  # another process was quicker
        pass
    return made


def receive(
    address: str,
    alerts: Sequence[Alert],
    dags: Mapping[str, str],
    refused: Mapping[str, str],
    budget: int,
    now: float | None = None,
) -> list[Start]:
    """Record alerts, and say which runs are to be started for them: at most one for each DAG.

    Whoever gets a `Start` must start it and call `done`. Of a claim that was never done, the next alert of its causes
    gets the same `Start` again, after a minute.

    Args:
        address: of the database.
        alerts: that came together.
        dags: the DAG of each cause that starts one.
        refused: why the others start none, by cause.
        budget: runs of a DAG within an hour that alerts may start.
        now: seconds since 1970.
    """
    now = time.time() if now is None else now
    with _engine(address).begin() as connection:
        # First of all, and it holds until the end: one writer at a time, in SQLite as in PostgreSQL.
        connection.execute(update(WRITER).values(turns=WRITER.c.turns + 1))
        connection.execute(delete(ALERTS).where(ALERTS.c.last < now - KEPT))
        connection.execute(delete(RUNS).where(RUNS.c.at < now - KEPT))
        latest = {alert.cause: alert for alert in alerts}
        known = _known(connection, list(latest))
        for cause, alert in latest.items():
            _record(connection, alert, known.get(cause), dags.get(cause, ""), refused.get(cause, ""), now)
        waiting: dict[str, list[Alert]] = {}
        for cause, alert in latest.items():
            if alert.status == FIRING and cause in dags and _may_start(known.get(cause), now):
                waiting.setdefault(dags[cause], []).append(alert)
        return [
            start for dag in sorted(waiting) for start in _claims(connection, dag, waiting[dag], known, budget, now)
        ]


def done(address: str, start: Start, error: str = "") -> None:
    """Say that a run was started, or why not; then it takes nothing of the budget, and its causes may start it later.

    Args:
        address: of the database.
        start: that was to be done.
        error: why it could not be.
    """
    outcome = FAILED if error else STARTED
    with _engine(address).begin() as connection:
        connection.execute(update(RUNS).where(RUNS.c.run == start.run).values(state=outcome))
        connection.execute(
            update(ALERTS).where(ALERTS.c.run == start.run).values(outcome=outcome, reason=_plain(error))
        )


def seen(address: str, since: float = 0.0, limit: int = 100) -> list[SeenAlert]:
    """What came, the last first, and what was done about it.

    Args:
        address: of the database.
        since: seconds since 1970 of an alert's last coming.
        limit: how many.
    """
    asked = select(ALERTS).where(ALERTS.c.last >= since).order_by(ALERTS.c.last.desc(), ALERTS.c.cause).limit(limit)
    with _engine(address).connect() as connection:
        return [_seen(row) for row in connection.execute(asked)]


def _plain(text: str) -> str:
    """What every database takes: not every one of PostgreSQL takes every text."""
    return text.encode("ascii", "backslashreplace").decode()


def _seen(row: Any) -> SeenAlert:
    alert = Alert(json.loads(row.labels), row.starts, row.status, json.loads(row.annotations), row.ends)
    return SeenAlert(alert, row.first, row.last, row.times, row.outcome, row.reason, row.dag, row.run)


def _known(connection: Connection, causes: Sequence[str]) -> dict[str, Any]:
    known: dict[str, Any] = {}
    for at in range(0, len(causes), TOGETHER):
        claimed = RUNS.c.at.label("claimed")
        asked = select(ALERTS, claimed).outerjoin(RUNS, ALERTS.c.run == RUNS.c.run)
        asked = asked.where(ALERTS.c.cause.in_(causes[at : at + TOGETHER]))
        known |= {row.cause: row for row in connection.execute(asked)}
    return known


def _record(connection: Connection, alert: Alert, known: Any, dag: str, refused: str, now: float) -> None:
    """What was told; of a cause that started something, that stays."""
    told = {"status": alert.status, "ends": alert.ends, "annotations": json.dumps(alert.annotations), "last": now}
    refused = _plain(refused)
    outcome = REFUSED if refused and alert.status == FIRING else NONE
    if known is None:
        first = {"cause": alert.cause, "labels": json.dumps(alert.labels), "starts": alert.starts, "first": now}
        values = {**first, **told, "times": 1, "outcome": outcome, "reason": refused, "dag": dag, "run": ""}
        connection.execute(insert(ALERTS).values(**values))
        return
    if known.outcome not in (CLAIMED, STARTED) and alert.status == FIRING:
        told |= {"outcome": outcome, "reason": refused, "dag": dag}
    connection.execute(update(ALERTS).where(ALERTS.c.cause == alert.cause).values(**told, times=ALERTS.c.times + 1))


def _may_start(known: Any, now: float) -> bool:
    if known is None or known.outcome not in (STARTED, CLAIMED):
        return True
    return bool(known.outcome == CLAIMED and known.claimed < now - AGAIN)


def _claims(
    connection: Connection, dag: str, alerts: Sequence[Alert], known: Mapping[str, Any], budget: int, now: float
) -> list[Start]:
    """Those whose process died once more, as they were; of all others one run, if the budget has room for it."""
    died: dict[str, list[Alert]] = {}
    for alert in alerts:
        row = known.get(alert.cause)
        if row is not None and row.outcome == CLAIMED:
            died.setdefault(row.run, []).append(alert)
    starts = [Start(dag, run, tuple(causes)) for run, causes in sorted(died.items())]
    for start in starts:
        connection.execute(update(RUNS).where(RUNS.c.run == start.run).values(at=now))
    new = [alert for alert in alerts if all(alert not in causes for causes in died.values())]
    if not new:
        return starts
    causes = sorted(alert.cause for alert in new)
    mine = ALERTS.c.cause.in_
    counted = RUNS.c.dag == dag, RUNS.c.at > now - HOUR, RUNS.c.state != FAILED
    spent = connection.execute(select(func.count()).select_from(RUNS).where(*counted)).scalar_one()
    if spent >= budget:
        reason = f"alerts have started {spent} runs of {dag} within an hour, and {budget} are allowed"
        for at in range(0, len(causes), TOGETHER):
            values = {"outcome": OVER, "reason": reason}
            connection.execute(update(ALERTS).where(mine(causes[at : at + TOGETHER])).values(**values))
        return starts
    run = "alert__" + hashlib.sha256("\n".join([dag, *causes]).encode()).hexdigest()[:32]
    connection.execute(delete(RUNS).where(RUNS.c.run == run))  # one that could not be started before
    connection.execute(insert(RUNS).values(run=run, dag=dag, at=now, state=CLAIMED))
    for at in range(0, len(causes), TOGETHER):
        values = {"outcome": CLAIMED, "reason": "", "run": run}
        connection.execute(update(ALERTS).where(mine(causes[at : at + TOGETHER])).values(**values))
    return [*starts, Start(dag, run, tuple(new))]
