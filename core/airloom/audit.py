"""Who changed what: a row for each change, begun before it and ended after it, in the stack's SQL database.

A row that stays `begun` is of a change whose end nobody saw: its process was killed. Rows are never removed.
"""

import time
from dataclasses import dataclass

from sqlalchemy import BigInteger, Column, Float, Index, Integer, MetaData, String, Table, Text, insert, select, update

from airloom import database
from airloom.contracts import Record

BEGUN, DONE, REFUSED, FAILED = "begun", "done", "refused", "failed"
LOCKED = 10.0  # seconds to wait for another writer of SQLite
_LONGEST = 300  # characters of a name, 2000 of what is said besides
_METADATA = MetaData()
ROWS = Table(
    "audit",
    _METADATA,
    Column("id", BigInteger().with_variant(Integer, "sqlite"), primary_key=True),
    Column("at", Float(53), nullable=False),  # seconds since 1970
    Column("who", String(_LONGEST), nullable=False),
    Column("action", String(60), nullable=False),
    Column("object", String(_LONGEST), nullable=False),
    Column("outcome", String(16), nullable=False),
    Column("detail", Text, nullable=False),
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
        made = connection.execute(insert(ROWS).values(**values, outcome=BEGUN, detail=""))
        return int(made.inserted_primary_key[0])


def end(address: str, row: int, outcome: str, detail: str = "", subject: str = "") -> None:
    """Say how it ended.

    Args:
        address: of the database.
        row: its id.
        outcome: DONE, REFUSED or FAILED.
        detail: what was done, or why not.
        subject: to what it was done; "": as it was said at the beginning.
    """
    values = {"outcome": outcome, "detail": _text(detail, 2000)} | ({"object": _text(subject)} if subject else {})
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
        return [AuditRow(*row) for row in connection.execute(asked)]


def _text(text: str, longest: int = _LONGEST) -> str:
    """What every database takes: no NUL, which PostgreSQL refuses, and no more than there is room for."""
    text = text.replace("\x00", "\\0")
    return text if len(text) <= longest else f"{text[: longest - 1]}…"
