"""Our own tables, in SQLite or PostgreSQL, and patience with a database that is away for a while."""

import logging
import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any, TypeVar

from sqlalchemy import (
    URL,
    Column,
    Connection,
    Engine,
    Integer,
    MetaData,
    NullPool,
    String,
    Table,
    create_engine,
    delete,
    event,
    insert,
    inspect,
    make_url,
    select,
)
from sqlalchemy.exc import ArgumentError, DBAPIError, IntegrityError, InterfaceError, OperationalError, ProgrammingError

from airloom import schema
from airloom.errors import ConfigError, CorruptFile, JobsAway, StateError
from airloom.files import DAMAGED, RESTORE, check_sqlite, sqlite_file
from airloom.version import __version__

PATIENCE = 120.0  # seconds that a database may be away
LOCKED = 60.0  # seconds to wait for a lock of SQLite
LONGEST = 2.0  # seconds between two tries
_SCHEMA = Table(
    schema.TABLE,
    MetaData(),
    Column("id", Integer, primary_key=True, autoincrement=False),
    Column("version", Integer, nullable=False),
    Column("airloom", String(50), nullable=False),
)
_short: list[bool] = []  # see `short_of_room`
T = TypeVar("T")
log = logging.getLogger(__name__)


@cache
def engine(address: str, metadata: MetaData, locked: float = LOCKED, synchronous: str = "NORMAL") -> Engine:
    """An engine with these tables, made where they are missing; two processes that make them at once are safe.

    Args:
        address: of the database.
        metadata: its tables.
        locked: seconds to wait for a lock of SQLite.
        synchronous: NORMAL: a kill loses nothing; FULL: neither does a power cut. Of SQLite.
    """
    check_sqlite(address)
    alone = _no_room(address)
    # A connection that is alone keeps the others out: none stays open.
    sql_engine = create_engine(address, **options(address, locked), **({"poolclass": NullPool} if alone else {}))
    prepare(sql_engine, locked, synchronous, alone=alone)
    with undamaged(address):
        _check_schema(sql_engine, metadata)
        for left in reversed(range(len(metadata.tables) + 1)):
            try:
                metadata.create_all(sql_engine)
                break
            except (OperationalError, ProgrammingError, IntegrityError):  # another one made one of them in between
                if not left:
                    raise
    return sql_engine


def schema_of(connection: Connection) -> tuple[int, str] | None:
    """The version of our tables, and the release that made or migrated them; None where there are none yet."""
    names = set(inspect(connection).get_table_names())
    if schema.TABLE in names and (row := connection.execute(select(_SCHEMA.c.version, _SCHEMA.c.airloom)).first()):
        return int(row.version), str(row.airloom)
    return (schema.FIRST, "") if names & set(schema.OWN) else None


def record_schema(connection: Connection) -> None:
    """Write down that the tables are of this release's version."""
    _SCHEMA.metadata.create_all(connection)
    connection.execute(delete(_SCHEMA))
    connection.execute(insert(_SCHEMA).values(id=1, version=schema.VERSION, airloom=__version__))


def named(address: str | URL) -> str:
    """An address for people: the file, or the address without its password."""
    url = make_url(address)
    return str(url.database) if url.drivername.startswith("sqlite") else url.render_as_string(hide_password=True)


def _check_schema(sql_engine: Engine, metadata: MetaData) -> None:
    """Refuse tables of another release, before anything is written; new ones get this release's version.

    Raises:
        StateError: they are newer, must be migrated, or lack a column.
    """
    place = f"the database {named(sql_engine.url)}"
    with sql_engine.connect() as connection:
        found = schema_of(connection)
        if found:
            schema.check(place, *found)
            _check_columns(connection, metadata, place)
            return
    try:
        with sql_engine.begin() as connection:
            record_schema(connection)
    except (OperationalError, ProgrammingError, IntegrityError) as error:  # another process did
        if is_locked(error):
            raise


def _check_columns(connection: Connection, metadata: MetaData, place: str) -> None:
    tables = inspect(connection)
    there = set(tables.get_table_names())
    for table in metadata.sorted_tables:
        columns = {column["name"] for column in tables.get_columns(table.name)} if table.name in there else None
        missing = [column.name for column in table.columns if columns is not None and column.name not in columns]
        if missing:
            message = f"{place} is of schema {schema.VERSION}, but its table {table.name} lacks {', '.join(missing)}"
            raise StateError(message, "something else changed it, or a development version made it: put a backup there")


def is_locked(error: DBAPIError) -> bool:
    """Whether SQLite says that somebody else writes for longer than we wait."""
    return str(getattr(error.orig, "sqlite_errorname", "")).startswith("SQLITE_BUSY")


@contextmanager
def undamaged(address: str) -> Iterator[None]:
    """Name the file where SQLite says that it is damaged.

    Raises:
        CorruptFile: it is.
    """
    try:
        yield
    except DBAPIError as error:
        if str(getattr(error.orig, "sqlite_errorname", "")).startswith(DAMAGED):
            raise CorruptFile(f"{sqlite_file(address)} is damaged: {error.orig}", RESTORE) from None
        raise


def options(address: str, locked: float = LOCKED) -> dict[str, Any]:
    """What every engine is made with: SQLite's writers wait for each other, a lost connection is noticed.

    Raises:
        ConfigError: there is no driver for the address.
    """
    local = address.startswith("sqlite:")
    if not local:
        _check_driver(address)
    return {"connect_args": {"timeout": locked} if local else {"connect_timeout": 10}, "pool_pre_ping": not local}


def _check_driver(address: str) -> None:
    try:
        make_url(address).get_dialect().import_dbapi()
    except (ImportError, ArgumentError) as error:  # an unknown kind of database is an ArgumentError
        shown = address.split("://")[0] if "://" in address else "the address"
        hint = "`pip install 'airloom[postgres]'` in each environment; the form is postgresql://user@host/database"
        raise ConfigError(f"no database can be reached by {shown!r}: {error}", hint) from None


def prepare(sql_engine: Engine, locked: float = LOCKED, synchronous: str = "NORMAL", *, alone: bool = False) -> None:
    """Readers of SQLite do not wait for writers; see `engine`. One that is `alone` needs no room to read."""
    if sql_engine.dialect.name == "sqlite":
        event.listen(sql_engine, "connect", lambda connection, _: _write_ahead(connection, locked, synchronous, alone))


@contextmanager
def short_of_room() -> Iterator[None]:
    """Engines that are first made in this block read SQLite also where the disk is full, for work that makes room.

    SQLite's readers share a file of 32 kB beside the database. Where there is no room for it, a connection that keeps
    the others out while it lives does without.
    """
    _short.append(True)
    try:
        yield
    finally:
        _short.pop()


def _no_room(address: str) -> bool:
    if not _short or not address.startswith("sqlite:///") or not sqlite_file(address).exists():
        return False
    connection = sqlite3.connect(sqlite_file(address))
    try:
        connection.execute("SELECT 1 FROM sqlite_master LIMIT 1")
    except sqlite3.OperationalError as error:
        return error.sqlite_errorname.startswith("SQLITE_IOERR_SHM")
    finally:
        connection.close()
    return False


def patiently(work: Callable[[], T], patience: float = PATIENCE) -> T:
    """Do some work with a database; while it is away, wait and do it again.

    The connection may break after the database took a change, so `work` must be safe to be done twice.

    Raises:
        JobsAway: it is away for longer than that.
    """
    until, pause = time.monotonic() + patience, 0.1
    while True:
        try:
            return work()
        except Exception as error:
            if not is_away(error):
                raise
            if time.monotonic() > until:
                message = f"the database does not answer for {patience:.0f} s: {str(error).splitlines()[0][:300]}"
                raise JobsAway(message, "look at the database, and start again: it goes on where it stood") from error
            if pause == 0.1:
                log.warning(
                    "the database is away, waiting up to %.0f s: %s", patience, str(error).splitlines()[0][:200]
                )
        time.sleep(pause)
        pause = min(2 * pause, LONGEST)


def is_away(error: BaseException | None) -> bool:
    """Whether an error, or what Optuna made of it, says that the database cannot be reached."""
    name = type(error).__name__
    if isinstance(error, JobsAway):
        return True
    if name == "StorageInternalError":  # Optuna's; not imported, as most callers do without Optuna
        error = error.__cause__ if error else None
    lost = isinstance(error, DBAPIError) and error.connection_invalidated
    return lost or isinstance(error, OperationalError | InterfaceError)


def _write_ahead(connection: Any, locked: float, synchronous: str, alone: bool) -> None:
    if alone:
        connection.execute("PRAGMA locking_mode=EXCLUSIVE")
    until = time.monotonic() + locked
    while True:
        try:
            connection.execute("PRAGMA journal_mode=WAL")
            break
        except sqlite3.OperationalError as error:
            # Another one writes to a new file; SQLite waits before every other statement, not before this one.
            if not error.sqlite_errorname.startswith("SQLITE_BUSY") or time.monotonic() > until:
                raise
        time.sleep(0.01)
    connection.execute(f"PRAGMA synchronous={synchronous}")
