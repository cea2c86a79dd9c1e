"""The index of a shard: what its rows are, and where they belong, without their data.

An Arrow IPC file with `row` (32 bytes: sha256 of the row), `anchor` (16 bytes: decides the split) and, only where it
differs from the anchors, `input` (16 bytes: digest of the input columns, for the leak check).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from airloom.datasets.storage.digests import Digests

SHORT = 16
Array = np.ndarray[Any, Any]


@dataclass(frozen=True)
class Index:
    """The rows of one or several shards: uint8 arrays `row` (n, 32), `anchor` and `input` (n, 16)."""

    row: Array
    anchor: Array
    input: Array

    def __len__(self) -> int:
        return len(self.row)

    @classmethod
    def of(cls, digests: Digests) -> "Index":
        """The index of freshly hashed rows."""
        anchor = np.ascontiguousarray(digests.anchor[:, :SHORT])
        inputs = anchor if digests.anchor is digests.inputs else np.ascontiguousarray(digests.inputs[:, :SHORT])
        return cls(digests.row, anchor, inputs)

    @property
    def anchored(self) -> bool:
        """Whether a row's place is decided by something else than its inputs."""
        return self.input is not self.anchor and not np.array_equal(self.input, self.anchor)

    @property
    def points(self) -> Array:
        """Where each row stands between 0 and 1 for a split, float64 (n,)."""
        first = np.ascontiguousarray(self.anchor[:, :8]).view("<u8").reshape(-1)
        return np.asarray(first / 2.0**64)

    def take(self, places: Array | slice) -> "Index":
        """Some of the rows: places as int64, a bool mask or a slice."""
        row, anchor = self.row[places], self.anchor[places]
        return Index(row, anchor, anchor if self.input is self.anchor else self.input[places])

    def to_bytes(self) -> bytes:
        """As an Arrow IPC file."""
        columns = {"row": self.row, "anchor": self.anchor} | ({"input": self.input} if self.anchored else {})
        arrays = [_column(values) for values in columns.values()]
        fields = [pa.field(name, array.type, False) for name, array in zip(columns, arrays, strict=True)]
        sink = pa.BufferOutputStream()
        with pa.ipc.new_file(sink, pa.schema(fields)) as writer:
            writer.write_batch(pa.RecordBatch.from_arrays(arrays, schema=pa.schema(fields)))
        return bytes(sink.getvalue())

    @classmethod
    def open(cls, path: Path) -> "Index":
        """Map a file into memory."""
        batch = pa.ipc.open_file(pa.memory_map(str(path))).get_batch(0)
        row, anchor = _array(batch.column("row")), _array(batch.column("anchor"))
        return cls(row, anchor, _array(batch.column("input")) if "input" in batch.schema.names else anchor)

    @classmethod
    def concat(cls, parts: Sequence["Index"]) -> "Index":
        """Several behind each other."""
        if not parts:
            return cls(np.empty((0, 32), np.uint8), *[np.empty((0, SHORT), np.uint8)] * 2)
        row, anchor = (np.concatenate([getattr(part, name) for part in parts]) for name in ("row", "anchor"))
        plain = all(part.input is part.anchor for part in parts)
        return cls(row, anchor, anchor if plain else np.concatenate([part.input for part in parts]))


def voids(digests: Array) -> Array:
    """Digests, uint8 (n, bytes), as values that can be sorted and compared, (n,)."""
    return np.ascontiguousarray(digests).view(f"V{digests.shape[1]}").reshape(-1)


def _column(values: Array) -> pa.Array:
    data = pa.py_buffer(np.ascontiguousarray(values))
    return pa.FixedSizeBinaryArray.from_buffers(pa.binary(values.shape[1]), len(values), [None, data])


def _array(column: pa.Array) -> Array:
    width = column.type.byte_width
    return np.frombuffer(column.buffers()[1], np.uint8, len(column) * width).reshape(-1, width)
