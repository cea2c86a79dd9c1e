"""The table of attempts, in SQLite or PostgreSQL. Every change is one statement with its condition."""

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from sqlalchemy import (
    JSON,
    BigInteger,
    Column,
    Connection,
    Float,
    Index,
    Integer,
    MetaData,
    String,
    Table,
    Text,
    UniqueConstraint,
    insert,
    select,
    update,
)
from sqlalchemy.exc import DBAPIError, IntegrityError

from airloom import database
from airloom.errors import JobError, JobsAway
from airloom.jobs.states import ALIVE, QUEUED, Attempt

KEY_LENGTH = 1000  # characters
metadata = MetaData()
attempts = Table(
    "job_attempts",
    metadata,
    Column("id", Integer, primary_key=True, autoincrement=True),
    Column("key", String(KEY_LENGTH), nullable=False),
    Column("number", Integer, nullable=False),
    Column("generation", Integer, nullable=False, default=0),
    Column("state", String(20), nullable=False),
    Column("reason", Text, nullable=False, default=""),
    Column("host", String(255), nullable=False, default=""),
    Column("owner", Integer, nullable=False, default=0),
    Column("token", Integer, nullable=False, default=0),
    Column("pid", Integer, nullable=False, default=0),
    Column("submitted", Float(53), nullable=False),
    Column("started", Float(53), nullable=False, default=0.0),
    Column("heartbeat", Float(53), nullable=False, default=0.0),
    Column("ended", Float(53), nullable=False, default=0.0),
    Column("folder", Text, nullable=False),
    Column("name", Text, nullable=False),
    Column("wanted", Integer, nullable=False, default=0),
    Column("devices", Text, nullable=False, default=""),
    Column("task", JSON, nullable=False),
    Column("cancel", Text, nullable=False, default=""),
    Column("stop", Text, nullable=False, default=""),
    Column("cpu_seconds", Float(53), nullable=False, default=0.0),
    Column("device_seconds", Float(53), nullable=False, default=0.0),
    Column("peak_memory", BigInteger, nullable=False, default=0),
    UniqueConstraint("key", "number"),
)
_living = attempts.c.state.in_(ALIVE)
# The database itself holds that no key has two living attempts.
Index("one_living_attempt", attempts.c.key, unique=True, sqlite_where=_living, postgresql_where=_living)
Index("attempts_by_state", attempts.c.state)


class Attempts:
    """The attempts of one installation.

    Every call raises JobsAway where the database does not answer, or refuses.
    """

    def __init__(self, address: str, patience: float = database.LOCKED) -> None:
        self._address = address
        with self._reachable():
            self._engine = database.engine(address, metadata, patience)

    def add(self, values: dict[str, Any]) -> Attempt | None:
        """Insert a QUEUED attempt; None where another submitter was first."""
        row = {"state": QUEUED, "submitted": time.time(), **values}
        try:
            with self._writing() as connection:
                identity = connection.execute(insert(attempts).values(row)).inserted_primary_key
        except IntegrityError:
            return None
        return self.get(int(identity[0]))  # type: ignore[index] # an insert of one row gives its key

    def get(self, identity: int) -> Attempt:
        """One attempt.

        Raises:
            JobError: there is none.
        """
        rows = self._select(attempts.c.id == identity)
        if not rows:
            raise JobError(f"there is no attempt {identity}", "`airloom jobs list`")
        return rows[0]

    def newest(self, key: str) -> Attempt | None:
        """The newest attempt of a key."""
        history = self.of(key)
        return history[-1] if history else None

    def of(self, key: str) -> list[Attempt]:
        """All attempts of a key, oldest first."""
        return sorted(self._select(attempts.c.key == key), key=lambda attempt: attempt.number)

    def alive(self) -> list[Attempt]:
        """All that may still do something, in the order in which they were submitted."""
        return sorted(self._select(_living), key=lambda attempt: attempt.id)

    def recent(self, limit: int = 1000) -> list[Attempt]:
        """The newest attempts of all keys, newest first."""
        return self._read(select(attempts).order_by(attempts.c.id.desc()).limit(limit))

    def change(self, identity: int, *, claim: int | None = None, states: Sequence[str] = ALIVE, **values: Any) -> bool:
        """Change an attempt that is in one of these states and, where given, has the token `claim`.

        Args:
            identity: of the attempt.
            claim: its token.
            states: in which it may be.
            values: of its columns.

        Returns:
            Whether it was changed.
        """
        query = update(attempts).where(attempts.c.id == identity, attempts.c.state.in_(states))
        if claim is not None:
            query = query.where(attempts.c.token == claim)
        with self._writing() as connection:
            return connection.execute(query.values(**values)).rowcount == 1

    def _select(self, *conditions: Any) -> list[Attempt]:
        return self._read(select(attempts).where(*conditions))

    def _read(self, query: Any) -> list[Attempt]:
        with self._reachable(), self._engine.connect() as connection:
            return [Attempt(**row._mapping) for row in connection.execute(query)]

    @contextmanager
    def _writing(self) -> Iterator[Connection]:
        with self._reachable(), self._engine.begin() as connection:
            yield connection

    @contextmanager
    def _reachable(self) -> Iterator[None]:
        try:
            with database.undamaged(self._address):
                yield
        except IntegrityError:
            raise
        except DBAPIError as error:
            reason = str(error.orig).strip()[:300]
            message = f"the table of jobs cannot be used: {reason} ({database.named(self._address)})"
            raise JobsAway(message, "look at that database and its disk, and try again") from None
