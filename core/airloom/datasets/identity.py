"""What makes a version the same everywhere: hashes of schema and rows, never of shards."""

import hashlib

import pyarrow as pa

from airloom.errors import DataError


def row_digests(table: pa.Table) -> list[bytes]:
    """sha256 of each row over its columns' values, in order.

    The Arrow IPC bytes of a one-row slice would depend on buffer layout; the values do not.
    """
    columns = [_encode(table.column(name), table.schema.field(name).type) for name in table.column_names]
    return [hashlib.sha256(b"".join(cells)).digest() for cells in zip(*columns, strict=True)]


def _encode(column: pa.ChunkedArray, kind: pa.DataType) -> list[bytes]:
    """Each value as bytes behind its length, so that neighbouring values cannot run together."""
    if pa.types.is_fixed_size_list(kind) and pa.types.is_primitive(kind.value_type):
        width = kind.list_size * kind.value_type.bit_width // 8
        raw = b"".join(chunk.flatten().to_numpy(zero_copy_only=False).tobytes() for chunk in column.chunks)
        return [_framed(raw[start : start + width]) for start in range(0, len(raw), width)]
    if pa.types.is_primitive(kind) and column.null_count == 0:
        return [_framed(value.tobytes()) for value in column.to_numpy()]
    return [_framed(_value(value)) for value in column.to_pylist()]


def _value(value: object) -> bytes:
    if isinstance(value, bytes):
        return b"b" + value
    return f"{type(value).__name__}:{value!r}".encode()


def _framed(data: bytes) -> bytes:
    return len(data).to_bytes(8, "little") + data


def version_id(schema: pa.Schema, digests: list[bytes]) -> str:
    """sha256 over the schema and the rows' digests in order, hex."""
    outline = "\n".join(f"{f.name}:{f.type}:{sorted((f.metadata or {}).items())}" for f in schema)
    return hashlib.sha256(outline.encode() + b"\0" + b"".join(digests)).hexdigest()


def check_schema(dataset: str, old: pa.Schema, new: pa.Schema) -> None:
    """A batch must have the columns of the dataset, with their types and shapes.

    Raises:
        DataError: naming each column that differs.
    """
    names = dict.fromkeys([*old.names, *new.names])
    wrong = [
        f"{name}: {_field(new, name)} instead of {_field(old, name)}"
        for name in names
        if _field(old, name) != _field(new, name)
    ]
    if wrong:
        raise DataError(f"the batch does not fit {dataset}: {'; '.join(wrong)}", "make the batch with the same columns")


def _field(schema: pa.Schema, name: str) -> str:
    if name not in schema.names:
        return "absent"
    field = schema.field(name)
    shape = (field.metadata or {}).get(b"shape", b"").decode()
    return f"{field.type} of shape ({shape})" if shape else str(field.type)
