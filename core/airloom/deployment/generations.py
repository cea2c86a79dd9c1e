"""The compare-and-swap under the deployment record: one number a model, in the stack's SQL database."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from sqlalchemy import (
    Column,
    Connection,
    Engine,
    Integer,
    MetaData,
    String,
    Table,
    create_engine,
    event,
    select,
    update,
)
from sqlalchemy.exc import IntegrityError
from sqlalchemy.schema import CreateTable

from airloom.settings import Settings

_METADATA = MetaData()
_TABLE = Table(
    "deployments", _METADATA, Column("model", String, primary_key=True), Column("generation", Integer, nullable=False)
)


def generation(settings: Settings, model: str) -> int:
    """The generation that the next `advance` must name; 0 for a new model."""
    engine = open_table(settings, _TABLE)
    with engine.begin() as connection:
        found = connection.execute(select(_TABLE.c.generation).where(_TABLE.c.model == model)).scalar()
    engine.dispose()
    return int(found or 0)


@contextmanager
def advance(settings: Settings, model: str, expected: int, to: int) -> Iterator[bool]:
    """Move the generation from `expected` to `to`, and hold the row while the block acts on it.

    Yields:
        False when somebody else moved it. An error inside the block leaves the generation where it was, and a rival
        waits until the block ended: so an older deployment never writes after a newer one.
    """
    engine = open_table(settings, _TABLE)
    try:
        with engine.begin() as connection:
            yield _moved(connection, model, expected, to)
    finally:
        engine.dispose()


@contextmanager
def quiet(settings: Settings, model: str) -> Iterator[None]:
    """Hold the row of a model, without moving its generation: no deployment of it writes while the block runs."""
    engine = open_table(settings, _TABLE)
    try:
        with engine.begin() as connection:
            same = {"generation": _TABLE.c.generation}
            connection.execute(update(_TABLE).where(_TABLE.c.model == model).values(**same))
            yield
    finally:
        engine.dispose()


def _moved(connection: Connection, model: str, expected: int, to: int) -> bool:
    try:
        if expected == 0:
            connection.execute(_TABLE.insert().values(model=model, generation=to))
            return True
        condition = (_TABLE.c.model == model) & (_TABLE.c.generation == expected)
        return bool(connection.execute(update(_TABLE).where(condition).values(generation=to)).rowcount)
    except IntegrityError:  # another first deployment
        return False


def open_table(settings: Settings, table: Table) -> Engine:
    """An engine on the stack's SQL database, in which `table` is there."""
    settings.make_home()
    local = settings.database_address.startswith("sqlite:")
    engine = create_engine(settings.database_address, connect_args={"timeout": 30} if local else {})

    if local:
        event.listen(engine, "connect", _write_ahead)

    with engine.begin() as connection:  # create_all looks first and creates then; another process may come between
        connection.execute(CreateTable(table, if_not_exists=True))
    return engine


def _write_ahead(connection: Any, _: Any) -> None:
    connection.execute("PRAGMA journal_mode=WAL")
