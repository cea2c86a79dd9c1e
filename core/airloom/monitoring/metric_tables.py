"""The tables of the model metrics, on SQLite and PostgreSQL; see `airloom.monitoring.metric_store`."""

from collections.abc import Sequence
from functools import cache

import numpy as np
from sqlalchemy import (
    BigInteger,
    Column,
    Engine,
    Integer,
    LargeBinary,
    MetaData,
    PrimaryKeyConstraint,
    SmallInteger,
    String,
    Table,
    UniqueConstraint,
    insert,
    select,
)
from sqlalchemy.exc import IntegrityError

from airloom import database
from airloom.monitoring.metric_bins import SHARES, Array
from airloom.monitoring.metric_counts import BINNED, LONGEST_MODEL, LONGEST_VERSION

PAIR = np.dtype([("bin", "<i2"), ("count", "<i8")])  # of a histogram in the store
QUANTILE = np.dtype("<i2")
_METADATA = MetaData()
SERIES = Table(
    "metric_series",
    _METADATA,
    Column("id", Integer, primary_key=True),
    Column("model", String(LONGEST_MODEL), nullable=False),
    Column("version", String(LONGEST_VERSION), nullable=False),
    Column("role", String(16), nullable=False),
    UniqueConstraint("model", "version", "role"),
)
ANSWERS = Table(
    "metric_answers",
    _METADATA,
    Column("model", String(LONGEST_MODEL), nullable=False),
    Column("number", SmallInteger, nullable=False),
    Column("answer", LargeBinary, nullable=False),  # UTF-8: not every database of PostgreSQL takes every text
    PrimaryKeyConstraint("model", "number"),
    UniqueConstraint("model", "answer"),
)
CELLS = Table(
    "metric_cells",
    _METADATA,
    Column("series", Integer, nullable=False),
    Column("span", Integer, nullable=False),  # seconds
    Column("start", BigInteger, nullable=False),  # seconds since 1970
    Column("requests", BigInteger, nullable=False),
    Column("predictions", BigInteger, nullable=False),
    Column("quantiles", LargeBinary, nullable=False),  # bins of `SHARES`: made here once, and not by each reader
    # Pairs of `PAIR`. What is asked for minute by minute comes first: SQLite then need not look at the rest of a row.
    *(Column(name, LargeBinary, nullable=False) for name in sorted(BINNED, key=SHARES.__contains__)),
    PrimaryKeyConstraint("series", "span", "start"),
    sqlite_with_rowid=False,
)
BATCHES = Table(
    "metric_batches",
    _METADATA,
    Column("name", String(160), primary_key=True),
    Column("source", String(64), nullable=False, index=True),
    Column("at", BigInteger, nullable=False),
    Column("gone", BigInteger),  # since when there is no such file; null while there is
    Column("counts", LargeBinary, nullable=False),
)
WRITER = Table(
    "metric_writer",
    _METADATA,
    Column("id", Integer, primary_key=True, autoincrement=False),
    Column("turns", BigInteger, nullable=False),
)


@cache
def engine(address: str, locked: float = database.LOCKED) -> Engine:
    """The database with its tables, made where they are missing."""
    made = database.engine(address, _METADATA, locked)
    with made.connect() as connection:
        if connection.execute(select(WRITER.c.id)).first() is not None:
            return made
    try:
        with made.begin() as connection:
            connection.execute(insert(WRITER).values(id=1, turns=0))
    except IntegrityError:  # another process was quicker
        pass
    return made


def encoded(histogram: dict[int, int]) -> bytes:
    """A histogram as the store has it, by bin."""
    pairs = np.empty(len(histogram), PAIR)
    pairs["bin"] = np.fromiter(histogram.keys(), np.int64, len(histogram))
    pairs["count"] = np.fromiter(histogram.values(), np.int64, len(histogram))
    pairs.sort(order="bin")
    return pairs.tobytes()


def decoded(data: Sequence[bytes]) -> tuple[Array, Array, Array]:
    """Several histograms at once: of each pair the number of its histogram, its bin and its count."""
    pairs = np.frombuffer(b"".join(data), PAIR)
    sizes = np.fromiter(map(len, data), np.int64, len(data)) // PAIR.itemsize
    return np.repeat(np.arange(len(data)), sizes), pairs["bin"].astype(np.int64), pairs["count"].astype(np.int64)
