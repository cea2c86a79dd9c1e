"""Who changed what: a row for each change, begun before it and ended after it, in the stack's SQL database.

A row that stays `begun` is of a change whose end nobody saw: its process was killed. Rows are never removed.
"""

import json
import time
from dataclasses import dataclass
from typing import Any

from sqlalchemy import BigInteger, Column, Float, Index, Integer, MetaData, String, Table, Text, insert, select, update

from airloom import database
from airloom.contracts import Record

BEGUN, DONE, REFUSED, FAILED = "begun", "done", "refused", "failed"
LOCKED = 10.0  # seconds to wait for another writer of SQLite
_LONGEST, _LONGEST_DETAIL = 300, 2000  # characters that are kept
_METADATA = MetaData()
ROWS = Table(
    "audit",
    _METADATA,
    Column("id", BigInteger().with_variant(Integer, "sqlite"), primary_key=True),
    Column("at", Float(53), nullable=False),  # seconds since 1970
    Column("who", Text, nullable=False),  # as JSON: not every database of PostgreSQL takes every text
    Column("action", String(60), nullable=False),
    Column("object", Text, nullable=False),  # the same
    Column("outcome", String(16), nullable=False),
    Column("detail", Text, nullable=False),  # the same
    Index("audit_at", "at"),
)


@dataclass(frozen=True)
class AuditRow(Record):
    """One change.

    Attributes:
        id: ascending.
        at: seconds since 1970 when it began.
        who: a user of Airflow, or `alertmanager`.
        action: `add labels`.
        object: what was changed: `digits`.
        outcome: begun, done, refused (nothing was changed) or failed.
        detail: what was done, or why not.
    """

    id: int
    at: float
    who: str
    action: str
    object: str
    outcome: str
    detail: str


def begin(address: str, who: str, action: str, subject: str = "") -> int:
    """Say that a change begins; returns the id of its row.

    Args:
        address: of the database.
        who: does it.
        action: what is done.
        subject: to what, where that is known already.
    """
    values = {"at": time.time(), "who": _text(who), "action": action, "object": _text(subject)}
    with database.engine(address, _METADATA, LOCKED).begin() as connection:
        made = insert(ROWS).values(**values, outcome=BEGUN, detail=_text("")).returning(ROWS.c.id)
        return int(connection.execute(made).scalar_one())


def end(address: str, row: int, outcome: str, detail: str = "", subject: str = "") -> None:
    """Say how it ended.

    Args:
        address: of the database.
        row: its id.
        outcome: DONE, REFUSED or FAILED.
        detail: what was done, or why not.
        subject: to what it was done; "": as it was said at the beginning.
    """
    values = {"outcome": outcome, "detail": _text(detail, _LONGEST_DETAIL)} | (
        {"object": _text(subject)} if subject else {}
    )
    with database.engine(address, _METADATA, LOCKED).begin() as connection:
        connection.execute(update(ROWS).where(ROWS.c.id == row).values(**values))


def rows(address: str, since: float = 0.0, limit: int = 100) -> list[AuditRow]:
    """The newest rows, newest first.

    Args:
        address: of the database.
        since: seconds since 1970.
        limit: how many.
    """
    asked = select(ROWS).where(ROWS.c.at >= since).order_by(ROWS.c.id.desc()).limit(limit)
    with database.engine(address, _METADATA, LOCKED).connect() as connection:
        return [_row(row) for row in connection.execute(asked)]


def _text(text: str, longest: int = _LONGEST) -> str:
    return json.dumps(text if len(text) <= longest else f"{text[: longest - 1]}…")


def _row(row: Any) -> AuditRow:
    who, subject, detail = (json.loads(text) for text in (row.who, row.object, row.detail))
    return AuditRow(row.id, row.at, who, row.action, subject, row.outcome, detail)
