"""How many candidates were judged on a test split, in the stack's SQL database. See `alpha_spending`."""

import time

from sqlalchemy import (
    Column,
    Connection,
    Float,
    Integer,
    MetaData,
    String,
    Table,
    UniqueConstraint,
    func,
    insert,
    select,
)
from sqlalchemy.exc import IntegrityError

from airloom import database
from airloom.evaluation.gate.alpha_spending import Tries
from airloom.settings import Settings

_METADATA = MetaData()
_TABLE = Table(
    "gate_tries",
    _METADATA,
    Column("model", String(100), nullable=False),
    Column("split", String(64), nullable=False),
    Column("number", Integer, nullable=False),
    Column("candidate", String(255), nullable=False),
    Column("at", Float, nullable=False),
    UniqueConstraint("model", "split", "number"),
    UniqueConstraint("model", "split", "candidate"),
)
_RACES = 50


def count(settings: Settings, model: str, split: str, candidates: list[str]) -> Tries:
    """The tries that these candidates are; the same ones again when asked again.

    Args:
        settings: of this installation.
        model: the registered model.
        split: digest of the test split's rows; another split begins at 1.
        candidates: their `models:/m-…` addresses. Those of one run are counted together.
    """
    settings.make_home()
    engine = database.engine(settings.database_address, _METADATA, synchronous="FULL")
    for attempt in range(_RACES):
        try:
            with engine.begin() as connection:
                return _numbered(connection, model, split, candidates)
        except IntegrityError:  # another gate took the number meanwhile
            if attempt == _RACES - 1:
                raise
    raise AssertionError("the loop returns or raises")


def _numbered(connection: Connection, model: str, split: str, candidates: list[str]) -> Tries:
    here = (_TABLE.c.model == model) & (_TABLE.c.split == split)
    known = {
        row.candidate: row.number
        for row in connection.execute(select(_TABLE.c.candidate, _TABLE.c.number).where(here))
        if row.candidate in candidates
    }
    last = connection.execute(select(func.max(_TABLE.c.number)).where(here)).scalar() or 0
    for new in [candidate for candidate in candidates if candidate not in known]:
        last += 1
        known[new] = last
        connection.execute(insert(_TABLE).values(model=model, split=split, number=last, candidate=new, at=time.time()))
    return Tries(min(known.values()), max(known.values()))
