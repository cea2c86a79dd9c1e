"""What the monitor decided, in the stack's SQL database: rows that are only added, one for each look at a model.

Whoever looks at the same moment of the same version gets the decision that is there. Two who decide at once do so one
after the other, so that the second one knows of the first one's run.
"""

import hashlib
import json
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Column, Connection, Float, Index, MetaData, String, Table, Text, insert, select

from airloom import database
from airloom.contracts import Record
from airloom.monitoring.decision import RETRAIN, MonitorDecision, Signal, StartedRun
from airloom.names import DatasetName

LONGEST = 1000  # characters of what is told to a run

metadata = MetaData()
rows = Table(
    "monitor_decisions",
    metadata,
    Column("id", String(32), primary_key=True),
    Column("model", String(256), nullable=False),  # by its name in the registry
    Column("version", String(20), nullable=False),
    Column("dataset", String(100), nullable=False),
    Column("since", Float(53), nullable=False),  # seconds since 1970, as all times here
    Column("until", Float(53), nullable=False),
    Column("at", Float(53), nullable=False),
    Column("by", String(256), nullable=False),
    Column("because", Text, nullable=False),
    Column("action", String(20), nullable=False),
    Column("kind", String(20), nullable=False),
    Column("says", Text, nullable=False),
    Column("cause", String(32), nullable=False),
    Column("signals", Text, nullable=False),
    Column("notes", Text, nullable=False),
    Column("limits", Text, nullable=False),
    Index("monitor_decisions_of_model", "model", "at"),
)
turns = Table(
    "monitor_turns",
    metadata,
    Column("model", String(256), primary_key=True),
    Column("turn", Float(53), nullable=False),
)


@dataclass(frozen=True)
class Look(Record):
    """Who looked at what, and what was found.

    Attributes:
        model: by its name in the registry.
        version: the champion's number.
        dataset: the version that a run learns from: `digits@v3`; empty where there is none.
        since: of the predictions that were looked at, seconds since 1970.
        until: the same; one version has one decision for each.
        by: who: a person, or the service.
        because: `schedule`, `by hand`, or an alert in its own words.
        signals: that were found.
        notes: what could not be looked at, and why.
        limits: of runs, as the pipeline file says them.
    """

    model: str
    version: str
    dataset: str
    since: float
    until: float
    by: str
    because: str
    signals: list[Signal]
    notes: list[str]
    limits: dict[str, Any]

    @property
    def id(self) -> str:
        """The same for every look at the same version and moment."""
        return hashlib.sha256(json.dumps([self.model, self.version, self.until]).encode()).hexdigest()[:32]


@dataclass(frozen=True)
class RecordedDecision(Record):
    """A decision as it was kept: `Look` and `MonitorDecision`, and `at`, when it was made."""

    id: str
    model: str
    version: str
    dataset: str
    since: float
    until: float
    at: float
    by: str
    because: str
    action: str
    kind: str
    says: str
    cause: str
    signals: list[dict[str, Any]]
    notes: list[str]
    limits: dict[str, Any]

    @property
    def run(self) -> str:
        """The id of the run that it starts; empty where it starts none."""
        return MonitorDecision(self.action, self.kind, self.says, self.cause).run

    @property
    def conf(self) -> dict[str, Any]:
        """What that run is started with; empty where it starts none."""
        if not self.run:
            return {}
        return {
            "cause": f"monitor {self.id}: {self.says}"[:LONGEST],
            "dataset_version": DatasetName.parse(self.dataset).number,
        }


Decide = Callable[[Sequence[StartedRun], float], MonitorDecision]


def keep(address: str, look: Look, decide: Decide, now: Callable[[], float] = time.time) -> RecordedDecision:
    """The decision about a look: the one that is there, else what `decide` says of the runs that were started.

    Args:
        address: of the database.
        look: what was found.
        decide: gets the model's started runs, and the time.
        now: the clock.
    """

    def work() -> RecordedDecision:
        with database.engine(address, metadata, synchronous="FULL").begin() as connection:
            # First of all, and it holds until the end: one decides at a time, in SQLite as in PostgreSQL.
            _take_turn(connection, look.model)
            if there := connection.execute(select(rows).where(rows.c.id == look.id)).first():
                return _record(there)
            moment = now()
            decision = decide(_started(connection, look.model), moment)
            values = {
                **{
                    name: getattr(look, name)
                    for name in ("id", "model", "version", "dataset", "since", "until", "by", "because")
                },
                **decision.to_dict(),
                "at": moment,
                "signals": json.dumps([signal.to_dict() for signal in look.signals]),
                "notes": json.dumps(look.notes),
                "limits": json.dumps(look.limits),
            }
            connection.execute(insert(rows).values(values))
            return _record(connection.execute(select(rows).where(rows.c.id == look.id)).one())

    return database.patiently(work)


def of_model(address: str, model: str, since: float = 0.0) -> list[RecordedDecision]:
    """The decisions about a model, the newest first.

    Args:
        address: of the database.
        model: by its name in the registry.
        since: seconds since 1970, when they were made.
    """
    asked = select(rows).where((rows.c.model == model) & (rows.c.at >= since)).order_by(rows.c.at.desc(), rows.c.id)
    with database.engine(address, metadata, synchronous="FULL").connect() as connection:
        return [_record(row) for row in connection.execute(asked)]


def _take_turn(connection: Connection, model: str) -> None:
    made = _upsert(connection).values(model=model, turn=1)
    connection.execute(made.on_conflict_do_update(index_elements=["model"], set_={"turn": turns.c.turn + 1}))


def _upsert(connection: Connection) -> Any:
    if connection.dialect.name == "sqlite":
        from sqlalchemy.dialects import sqlite

        return sqlite.insert(turns)
    from sqlalchemy.dialects import postgresql

    return postgresql.insert(turns)


def _started(connection: Connection, model: str) -> list[StartedRun]:
    wanted = (rows.c.model == model) & (rows.c.action == RETRAIN)
    return [StartedRun(row.at, row.cause) for row in connection.execute(select(rows.c.at, rows.c.cause).where(wanted))]


def _record(row: Any) -> RecordedDecision:
    values = dict(row._mapping)
    return RecordedDecision(**values | {name: json.loads(values[name]) for name in ("signals", "notes", "limits")})
