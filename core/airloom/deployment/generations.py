"""The compare-and-swap under the deployment record: one number a model, in the stack's SQL database."""

from collections.abc import Iterator
from contextlib import contextmanager

from sqlalchemy import Column, Connection, Engine, Integer, MetaData, String, Table, select, update
from sqlalchemy.exc import IntegrityError

from airloom import database
from airloom.settings import Settings

_METADATA = MetaData()
_TABLE = Table(
    "deployments", _METADATA, Column("model", String, primary_key=True), Column("generation", Integer, nullable=False)
)


def generation(settings: Settings, model: str) -> int:
    """The generation that the next `advance` must name; 0 for a new model."""
    with _engine(settings).begin() as connection:
        current = connection.execute(select(_TABLE.c.generation).where(_TABLE.c.model == model)).scalar()
    return int(current or 0)


@contextmanager
def advance(settings: Settings, model: str, expected: int, to: int) -> Iterator[bool]:
    """Move the generation from `expected` to `to`, and hold the row while the block acts on it.

    Args:
        settings: of this installation.
        model: its name.
        expected: what `generation` returned.
        to: the new generation.

    Yields:
        False when somebody else moved it. An error inside the block leaves the generation where it was, and a rival
        waits until the block ended: so an older deployment never writes after a newer one.
    """
    with _engine(settings).begin() as connection:
        yield _move(connection, model, expected, to)


@contextmanager
def hold_deployments(settings: Settings, model: str) -> Iterator[None]:
    """Let no deployment of a model write while the block runs; its generation stays the same."""
    with _engine(settings).begin() as connection:
        # An update to the same value takes the lock of the row in every database.
        connection.execute(update(_TABLE).where(_TABLE.c.model == model).values(generation=_TABLE.c.generation))
        yield


def _move(connection: Connection, model: str, expected: int, to: int) -> bool:
    try:
        if expected == 0:
            connection.execute(_TABLE.insert().values(model=model, generation=to))
            return True
        condition = (_TABLE.c.model == model) & (_TABLE.c.generation == expected)
        return bool(connection.execute(update(_TABLE).where(condition).values(generation=to)).rowcount)
    except IntegrityError:  # another first deployment
        return False


def _engine(settings: Settings) -> Engine:
    settings.make_home()
    return database.engine(settings.database_address, _METADATA, synchronous="FULL")
