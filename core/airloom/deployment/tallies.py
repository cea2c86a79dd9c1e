"""What servers have counted of a stage: a table of one row a server process, model and generation of its deployment.

A row is its process's own and holds everything since the stage began, so that a write done twice counts nothing twice.
"""

import json

from sqlalchemy import (
    Column,
    Integer,
    MetaData,
    PrimaryKeyConstraint,
    String,
    Table,
    Text,
    delete,
    insert,
    select,
    update,
)

from airloom import database
from airloom.deployment.rollout import Counts

_METADATA = MetaData()
_TABLE = Table(
    "rollout_counts",
    _METADATA,
    Column("writer", String(36), nullable=False),
    Column("model", String(256), nullable=False),
    Column("generation", Integer, nullable=False),
    Column("counts", Text, nullable=False),  # JSON
    PrimaryKeyConstraint("writer", "model", "generation"),
)
LOCKED = 5.0  # seconds to wait for another writer of SQLite


def write(address: str, writer: str, model: str, generation: int, counts: Counts) -> None:
    """Put what a process has counted into the table, and drop what was counted of earlier generations.

    Args:
        address: of the database.
        writer: the process, by an id that no other has.
        model: its name in the registry.
        generation: of its deployment.
        counts: since the stage began.
    """
    of_model = _TABLE.c.model == model
    mine = of_model & (_TABLE.c.writer == writer) & (_TABLE.c.generation == generation)
    values = {"counts": json.dumps(counts.to_dict())}
    with database.engine(address, _METADATA, LOCKED).begin() as connection:
        if connection.execute(update(_TABLE).where(mine).values(values)).rowcount == 0:
            key = {"writer": writer, "model": model, "generation": generation}
            connection.execute(insert(_TABLE).values({**key, **values}))
            connection.execute(delete(_TABLE).where(of_model & (_TABLE.c.generation < generation)))


def total(address: str, model: str, generation: int) -> Counts:
    """What all processes have counted of a stage."""
    wanted = select(_TABLE.c.counts).where((_TABLE.c.model == model) & (_TABLE.c.generation == generation))
    with database.engine(address, _METADATA, LOCKED).connect() as connection:
        rows = connection.execute(wanted).scalars().all()
    return sum((Counts(**json.loads(row)) for row in rows), Counts())
