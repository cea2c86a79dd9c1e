"""What makes a version the same everywhere: hashes of schema and rows, never of shards."""

import hashlib

import pyarrow as pa
import pyarrow.compute as pc

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


def check_nulls(dataset: str, table: pa.Table) -> None:
    """Every cell of a batch must have a value.

    Raises:
        DataError: naming the column and the first row without one.
    """
    for name in table.column_names:
        empty = _empty(table.column(name))
        if empty is not None:
            message = f"the batch for {dataset} has no value in column {name}, row {empty}"
            raise DataError(message, "fill in or leave out such rows")


def _empty(column: pa.ChunkedArray) -> int | None:
    """The first row that is null or a list with a null in it."""
    first = pc.index(pc.is_null(column), True).as_py()
    if first >= 0:
        return int(first)
    if pa.types.is_fixed_size_list(column.type):
        inner = pc.index(pc.is_null(pc.list_flatten(column)), True).as_py()
        return int(inner) // column.type.list_size if inner >= 0 else None
    return None


def fit(dataset: str, schema: pa.Schema | None, table: pa.Table) -> pa.Table:
    """The batch in the schema of its dataset, so that their shards can be read as one table.

    Raises:
        DataError: the columns differ, or the first batch's may be null.
    """
    if schema is None:
        nullable = [field.name for field in table.schema if field.nullable]
        if nullable:
            message = f"the first batch for {dataset} has nullable columns: {', '.join(nullable)}"
            raise DataError(message, "make their fields with nullable=False")
        return table.replace_schema_metadata(None)
    check_schema(dataset, schema, table.schema)
    return pa.Table.from_arrays([table.column(name) for name in schema.names], schema=schema)


def _field(schema: pa.Schema, name: str) -> str:
    if name not in schema.names:
        return "absent"
    field = schema.field(name)
    shape = (field.metadata or {}).get(b"shape", b"").decode()
    return f"{field.type} of shape ({shape})" if shape else str(field.type)
