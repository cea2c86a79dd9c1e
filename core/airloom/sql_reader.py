"""Quick questions to a SQL database that somebody else writes: read-only, and SQLite without SQLAlchemy.

SQLAlchemy's import takes a third of a second, which a command that must answer within one cannot spare. Both take the
same statements: values are named, `:name`.
"""

import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cached_property
from typing import Any
from urllib.parse import quote

from airloom.errors import RegistryError
from airloom.files import sqlite_file

MOST = 500  # values in one statement
LOCKED = 20.0  # seconds to wait for a writer of SQLite
MAPPED = 2**30  # bytes
Row = tuple[Any, ...]


class Reader:
    """Reads one database, named by its SQLAlchemy address."""

    def __init__(self, address: str) -> None:
        self.address = address
        self.file = sqlite_file(address) if address.startswith("sqlite:") else None

    def has(self, *tables: str) -> bool:
        """Whether the database is there, with all these tables."""
        if self.file is None:
            from sqlalchemy import create_engine, inspect

            with self._failing():
                return set(tables) <= set(inspect(create_engine(self.address)).get_table_names())
        if not self.file.is_file():
            return False
        names = self.rows("SELECT name FROM sqlite_master WHERE type = 'table'")
        return set(tables) <= {name for (name,) in names}

    def rows(self, statement: str, **values: Any) -> list[Row]:
        """The rows of one statement.

        Raises:
            RegistryError: the database cannot be read.
        """
        with self._failing():
            if self.file is None:
                from sqlalchemy import create_engine, text

                with create_engine(self.address).connect() as connection:
                    return [tuple(row) for row in connection.execute(text(statement), values)]
            return self._local.execute(statement, values).fetchall()

    def rows_of(self, statement: str, wanted: Sequence[str], **values: Any) -> list[Row]:
        """The same for any number of values, which stand for `(:wanted)` in the statement."""
        rows: list[Row] = []
        for start in range(0, len(wanted), MOST):
            some = {f"w{place}": value for place, value in enumerate(wanted[start : start + MOST])}
            names = ", ".join(f":{name}" for name in some)
            rows += self.rows(statement.replace(":wanted", names), **some, **values)
        return rows

    @cached_property
    def _local(self) -> sqlite3.Connection:
        """SQLite's file, mapped into memory: pages that are not cached yet come in larger pieces."""
        connection = sqlite3.connect(f"file:{quote(str(self.file))}?mode=ro", uri=True, timeout=LOCKED)
        connection.execute(f"PRAGMA mmap_size = {MAPPED}")
        return connection

    @contextmanager
    def _failing(self) -> Iterator[None]:
        try:
            yield
        except Exception as error:
            if not isinstance(error, sqlite3.Error) and not type(error).__module__.startswith("sqlalchemy"):
                raise
            place = self.file or self.address.rpartition("@")[2]  # an address may hold a password
            reason = str(error).splitlines()[0][:200]
            raise RegistryError(f"the database {place} cannot be read: {reason}", "restore it, or try again") from None
