"""Shards mapped into memory straight from the cache: no checkout, no copy, nothing opened before it is read."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from airloom.datasets.reading.columns import Column, Fixed, view
from airloom.datasets.reading.joined import Joined
from airloom.errors import CorruptFile, DataError

REPAIR = "remove this file and fetch the dataset again"


@dataclass(frozen=True)
class ShardFile:
    """A shard in the cache: an Arrow IPC file with one record batch."""

    path: Path
    md5: str
    rows: int


class Mapped:
    """The shards of a snapshot as one long list of rows, numbered from 0 through all shards.

    A shard is mapped when it is first read, and stays mapped as long as anything points into it, also after this
    object is gone. No file descriptor stays open. Pickling and forking are safe: a copy maps the files anew.
    """

    def __init__(self, files: Sequence[ShardFile], schema: pa.Schema) -> None:
        self.files = tuple(files)
        self.schema = schema
        self.bases: NDArray[np.int64] = np.cumsum([0, *(file.rows for file in files)], dtype=np.int64)
        self.joined = Joined(self.bases)
        self.whole: set[int] = set()  # shards whose MD5 was found to be their name
        self._opened: dict[int, tuple[pa.Buffer, pa.RecordBatch]] = {}
        self._columns: dict[tuple[int, str], Column] = {}
        self._arrays: dict[str, dict[int, NDArray[Any]]] = {}  # by column and shard, of those that are plain numbers

    @property
    def rows(self) -> int:
        """Rows of all shards together, deleted ones included."""
        return int(self.bases[-1])

    def column(self, shard: int, name: str) -> Column:
        """A view of one column of one shard.

        Raises:
            DataError: the shard is not there, or there is no such column.
            CorruptFile: the shard is not what the manifest says.
        """
        column = self._columns.get((shard, name))
        return self._view(shard, name) if column is None else column

    def arrays(self, name: str) -> "dict[int, NDArray[Any]] | None":
        """The values of a column by shard, once all shards were read and all are plain numbers; None before."""
        arrays = self._arrays.get(name)
        return arrays if arrays is not None and len(arrays) == len(self.files) else None

    def buffer(self, shard: int) -> pa.Buffer:
        """The mapped bytes of a whole file."""
        return self._open(shard)[0]

    def _view(self, shard: int, name: str) -> Column:
        batch = self._open(shard)[1]
        if name not in self.schema.names:
            raise DataError(f"no column {name!r}", f"the columns are {', '.join(self.schema.names)}")
        try:
            column = view(batch.column(name), self.schema.field(name))
        except pa.ArrowInvalid as error:
            raise damaged(self.files[shard], f"column {name!r}: {error}") from None
        # Two threads may both get here: each view is good, and the later one is kept.
        self._columns[shard, name] = column
        if isinstance(column, Fixed):
            self._arrays.setdefault(name, {})[shard] = column.values
        return column

    def _open(self, shard: int) -> tuple[pa.Buffer, pa.RecordBatch]:
        if shard not in self._opened:
            self._opened[shard] = _map(self.files[shard], self.schema)
        return self._opened[shard]

    def __getstate__(self) -> dict[str, Any]:
        fresh = {"joined": Joined(self.bases), "whole": set(), "_opened": {}, "_columns": {}, "_arrays": {}}
        return {**self.__dict__, **fresh}


def damaged(file: ShardFile, what: str) -> CorruptFile:
    """The error for a shard that is not what the manifest says."""
    return CorruptFile(f"shard {file.md5} is damaged: {what} ({file.path})", REPAIR)


def _map(file: ShardFile, schema: pa.Schema) -> tuple[pa.Buffer, pa.RecordBatch]:
    try:
        with pa.memory_map(str(file.path)) as source:
            buffer = source.read_buffer()
        reader = pa.ipc.open_file(buffer)
        batches = reader.num_record_batches
        batch = reader.get_batch(0) if batches == 1 else None
    except FileNotFoundError:
        raise DataError(f"shard {file.md5} is not there ({file.path})", "fetch the dataset") from None
    except (pa.ArrowException, OSError) as error:
        raise damaged(file, f"no readable Arrow file: {error}") from None
    if batch is None:
        raise damaged(file, f"{batches} record batches, not 1")
    if not reader.schema.equals(schema):
        raise damaged(file, f"its schema is {_line(reader.schema)}, the version's is {_line(schema)}")
    if batch.num_rows != file.rows:
        raise damaged(file, f"{batch.num_rows} rows, the manifest says {file.rows}")
    return buffer, batch


def _line(schema: pa.Schema) -> str:
    try:
        return ", ".join(f"{field.name}: {field.type}{'' if field.nullable else ' not null'}" for field in schema)
    except UnicodeDecodeError as error:
        return f"unreadable ({error})"
