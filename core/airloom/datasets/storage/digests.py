"""sha256 of rows: of all columns (what a row is), and of its key or inputs (where it belongs).

A digest is a function of the values alone. How Arrow lays them out, cuts them into chunks or offsets their buffers
does not matter, so the same row has the same digest in every shard and store.

Encoding of a set of columns: for each row the bytes of its fixed-width columns in the schema's order (a nullable one
with a byte behind it, 1 where there is a value; null counts as zeros), then each other column as its length (8 bytes,
little-endian; 2^64-1 for null) and its bytes. A row's digest is sha256(digest of the inputs ‖ encoding of the rest).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import sha256
from itertools import pairwise
from typing import Any

import numpy as np
import pyarrow as pa

from airloom.datasets.storage.schema import Layout
from airloom.errors import DataError

NULL = b"\xff" * 8
Array = np.ndarray[Any, Any]


@dataclass(frozen=True)
class Digests:
    """Digests of rows, uint8 arrays of shape (n, 32)."""

    row: Array
    inputs: Array
    anchor: Array  # of the key where one is declared, else the same as `inputs`

    def __len__(self) -> int:
        return len(self.row)


def digest(batch: pa.RecordBatch, layout: Layout) -> Digests:
    """The digests of a batch's rows."""
    names = layout.inputs(batch.schema)
    inputs = _hash(batch, names)
    rest = [name for name in batch.schema.names if name not in names]
    row = _array(_hash(batch, rest, inputs) if rest else inputs)
    digests = _array(inputs)
    return Digests(row, digests, _array(_hash(batch, [layout.key])) if layout.key else digests)


def _array(digests: Sequence[bytes]) -> Array:
    return np.frombuffer(b"".join(digests), np.uint8).reshape(-1, 32)


def _hash(batch: pa.RecordBatch, names: list[str], first: Sequence[bytes] = ()) -> list[bytes]:
    """sha256 a row over `first` (32 bytes, where given) and the named columns."""
    columns = [(batch.column(name), batch.schema.field(name)) for name in names]
    fixed = [part for column, field in columns if _is_fixed(field.type) for part in _matrices(column, field)]
    varied = [_cells(column) for column, field in columns if not _is_fixed(field.type)]
    if not first and not fixed and len(varied) == 1:
        return [_framed(cell) for cell in varied[0]]
    parts: list[Sequence[Any]] = [first] if first else []
    if fixed:
        parts.append(_rows(fixed[0] if len(fixed) == 1 else np.concatenate(fixed, axis=1)))
    parts += [[_frame(cell) for cell in cells] for cells in varied]
    if len(parts) == 1:
        return [sha256(part).digest() for part in parts[0]]
    return [sha256(b"".join(cells)).digest() for cells in zip(*parts, strict=True)]


def _framed(cell: Any) -> bytes:
    """The digest of one cell without copying it behind its length: blobs are large."""
    if cell is None:
        return sha256(NULL).digest()
    state = sha256(len(cell).to_bytes(8, "little"))
    state.update(cell)
    return state.digest()


def _frame(cell: Any) -> bytes:
    return NULL if cell is None else len(cell).to_bytes(8, "little") + bytes(cell)


def _rows(matrix: Array) -> list[memoryview]:
    """The rows of a uint8 matrix as views."""
    width, flat = matrix.shape[1], np.ascontiguousarray(matrix).data.cast("B")
    return [flat[start : start + width] for start in range(0, len(flat), width)]


def _is_fixed(kind: pa.DataType) -> bool:
    if pa.types.is_fixed_size_list(kind):
        return bool(pa.types.is_primitive(kind.value_type) and kind.value_type.bit_width >= 8)
    return bool(pa.types.is_primitive(kind) or pa.types.is_fixed_size_binary(kind))


def _matrices(column: pa.Array, field: pa.Field) -> list[Array]:
    """A fixed-width column as uint8 (n, bytes a row), and its validity (n, 1) where the schema allows nulls."""
    matrix = _matrix(column)
    if not field.nullable:
        return [matrix]
    valid = np.asarray(column.is_valid()).astype(np.uint8).reshape(-1, 1)
    return [matrix if column.null_count == 0 else matrix * valid, valid]


def _matrix(column: pa.Array) -> Array:
    """The values of a fixed-width column as uint8 (n, bytes a row), a view where Arrow allows."""
    kind, size, values = column.type, 1, column
    if pa.types.is_boolean(kind):
        return np.asarray(column.fill_null(False)).astype(np.uint8).reshape(-1, 1)
    if pa.types.is_fixed_size_list(kind):
        size, values = kind.list_size, column.values
        if column.flatten().null_count:
            raise DataError("a list holds an empty element", "fill or drop elements that are null")
    width = size * values.type.bit_width // 8
    start = column.offset * width + (values.offset * values.type.bit_width // 8 if values is not column else 0)
    return np.frombuffer(values.buffers()[1], np.uint8)[start : start + len(column) * width].reshape(-1, width)


def _cells(column: pa.Array) -> Sequence[Any]:
    """Each cell as bytes-like, None for null: binary data as views, anything else by a canonical text."""
    kind = column.type
    if pa.types.is_large_binary(kind) or pa.types.is_large_string(kind):
        offsets = np.frombuffer(column.buffers()[1], np.int64)[column.offset : column.offset + len(column) + 1]
        data = memoryview(column.buffers()[2] or b"")
        bounds = offsets.tolist()
        cells: list[Any] = [data[start:stop] for start, stop in pairwise(bounds)]
        if column.null_count:
            cells = [cell if valid else None for cell, valid in zip(cells, column.is_valid().to_pylist(), strict=True)]
        return cells
    return [None if value is None else _text(value) for value in column.to_pylist()]


def _text(value: Any) -> bytes:
    """A value of any other type; dicts keep the schema's order of their fields."""
    if isinstance(value, bytes):
        return b"b" + value
    if isinstance(value, list):
        return b"l" + b"".join(_frame(None if item is None else _text(item)) for item in value)
    if isinstance(value, dict):
        return b"d" + b"".join(_frame(None if item is None else _text(item)) for item in value.values())
    return f"{type(value).__name__}:{value!r}".encode()
