"""Which labelled predictions became rows of a dataset: rows that are only added, a batch each.

A batch is written down before its rows are committed. It counts where a version of the dataset has its tag, so that a
kill in between neither loses rows nor brings them twice.
"""

import hashlib
import json
from collections.abc import Collection, Sequence
from typing import Any

from sqlalchemy import Column, Connection, MetaData, PrimaryKeyConstraint, String, Table, select

from airloom import database

TOGETHER = 500  # rows in one statement
metadata = MetaData()
rows = Table(
    "label_batches",
    metadata,
    Column("batch", String(16), nullable=False),
    Column("prediction", String(36), nullable=False),
    PrimaryKeyConstraint("batch", "prediction"),
)


def batch_of(labels: Sequence[tuple[str, str]]) -> str:
    """The name of a batch: of the ids of its predictions with their labels, in any order."""
    return hashlib.sha256(json.dumps(sorted(labels)).encode()).hexdigest()[:16]


def note(address: str, batch: str, predictions: Sequence[str]) -> None:
    """Write a batch down; again does no harm.

    Args:
        address: of the database.
        batch: its name.
        predictions: their ids.
    """

    def work() -> None:
        with database.engine(address, metadata, synchronous="FULL").begin() as connection:
            for at in range(0, len(predictions), TOGETHER):
                values = [{"batch": batch, "prediction": one} for one in predictions[at : at + TOGETHER]]
                connection.execute(_insert(connection).on_conflict_do_nothing(), values)

    database.patiently(work)


def predictions_of(address: str, batches: Collection[str]) -> set[str]:
    """The ids of the predictions of some batches."""
    asked = select(rows.c.prediction).where(rows.c.batch.in_(sorted(batches)))
    with database.engine(address, metadata, synchronous="FULL").connect() as connection:
        return set(connection.execute(asked).scalars())


def _insert(connection: Connection) -> Any:
    if connection.dialect.name == "sqlite":
        from sqlalchemy.dialects import sqlite

        return sqlite.insert(rows)
    from sqlalchemy.dialects import postgresql

    return postgresql.insert(rows)
