"""How many predictions each model version has given: a table of totals, one row a server process and version.

A row is its process's own and holds an absolute total, so that a write which is done twice, or whose answer was lost
with the connection, counts nothing twice; a process that starts anew starts rows of its own.
"""

from collections.abc import Mapping
from typing import Any

from sqlalchemy import BigInteger, Column, Float, MetaData, PrimaryKeyConstraint, String, Table, insert, update

from airloom import database
from airloom.monitoring.totals import TABLE

metadata = MetaData()
counts = Table(
    TABLE,
    metadata,
    Column("writer", String(36), nullable=False),
    Column("model", String(256), nullable=False),
    Column("version", String(20), nullable=False),
    Column("total", BigInteger, nullable=False),
    Column("first", Float(53), nullable=False),  # seconds since 1970, of the first and the last one counted
    Column("last", Float(53), nullable=False),
    PrimaryKeyConstraint("writer", "model", "version"),
)


class Total:
    """What one process has counted of one version."""

    __slots__ = ("first", "last", "total")

    def __init__(self, first: float) -> None:
        self.total, self.first, self.last = 0, first, first

    def values(self) -> dict[str, Any]:
        """As the table holds it."""
        return {"total": self.total, "first": self.first, "last": self.last}


def write(address: str, writer: str, totals: Mapping[tuple[str, str], dict[str, Any]], locked: float) -> None:
    """Put a process's totals into the table, all or none.

    Args:
        address: of the database.
        writer: the process, by an id that no other has.
        totals: by model and version, as `Total.values` gives them.
        locked: seconds to wait for a lock of SQLite.
    """
    with database.engine(address, metadata, locked).begin() as connection:
        for (model, version), values in totals.items():
            mine = (counts.c.writer == writer) & (counts.c.model == model) & (counts.c.version == version)
            if connection.execute(update(counts).where(mine).values(values)).rowcount == 0:
                connection.execute(insert(counts).values(writer=writer, model=model, version=version, **values))
