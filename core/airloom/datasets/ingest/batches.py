"""What ingestion takes and what it returns."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

import pyarrow as pa

from airloom.datasets.storage.schema import Layout


@dataclass(frozen=True)
class Batches:
    """Rows on their way in: checked, in stored form, read once and a few MB at a time.

    Errors in later rows are raised while `batches` is read. `source` says where they come from.
    """

    schema: pa.Schema
    layout: Layout
    batches: Iterator[pa.RecordBatch]
    source: str

    def to_table(self) -> pa.Table:
        """All rows that are left, in memory."""
        return pa.Table.from_batches(self.batches, schema=self.schema)


@dataclass(frozen=True)
class Wanted:
    """What the caller says of the columns; an empty type or label is found out from the first rows.

    `schema` is that of the dataset to which the rows go: then they must fit it, and nothing is guessed.
    """

    type: str = ""
    label: str = ""
    key: str = ""
    schema: pa.Schema | None = None
    classes: tuple[str, ...] = ()
    encoding: str = "utf-8"


@dataclass(frozen=True)
class Part:
    """One file, or something like it: its name for messages, and its batches, given the schema that they must have."""

    source: str
    open: Callable[[pa.Schema | None], Iterable[pa.RecordBatch]]
