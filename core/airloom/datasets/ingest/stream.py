"""Batches from anywhere, made into the stored form and checked, one at a time."""

from collections.abc import Iterator, Sequence
from itertools import chain
from typing import NamedTuple

import pyarrow as pa

from airloom.datasets.ingest.batches import Batches, Part, Wanted
from airloom.datasets.ingest.limits import batch_rows, check_columns
from airloom.datasets.ingest.schema import check_fits, stored_column, stored_schema, stored_type
from airloom.datasets.storage.schema import Layout
from airloom.datasets.types import get_type
from airloom.datasets.types.base import check_nulls
from airloom.datasets.types.labels import check_classes, declare
from airloom.datasets.types.tabular import is_flat
from airloom.errors import DataError


class Piece(NamedTuple):
    """A batch as it was read, the file that it comes from and the number of its first row there."""

    source: str
    first: int
    batch: pa.RecordBatch


def stream(parts: Sequence[Part], wanted: Wanted, source: str, layout: Layout | None = None) -> Batches:
    """The rows of all parts in stored form, of one schema: the wanted one, else that of the first rows.

    Args:
        parts: in their order, at least one.
        wanted: what the caller says of the columns.
        source: where they come from, for messages.
        layout: roles of the columns; None: found out from the first rows.

    Raises:
        DataError: a part has no rows, or its first do not fit; later ones raise when they are read.
    """
    pieces = _pieces(parts[0], wanted.schema)
    first = next(pieces)
    try:
        check_columns(first.batch.schema.names)
        layout = layout or _layout(first.batch.schema, wanted)
        kind = get_type(layout.type)
        schema = wanted.schema or stored_schema(first.batch, layout, kind.nullable)
        if wanted.classes:
            schema = declare(schema, layout, wanted.classes)
        kind.check(schema, layout)
    except UnicodeDecodeError:
        raise DataError(f"{first.source}: a column's name is no UTF-8", "write the file anew") from None
    except DataError as error:
        raise _located(error, first.source) from None
    later = chain.from_iterable(_pieces(part, schema) for part in parts[1:])
    return Batches(schema, layout, _stored(chain([first], pieces, later), schema, layout), source)


def _layout(schema: pa.Schema, wanted: Wanted) -> Layout:
    free = wanted.schema is None and "label" in schema.names and wanted.key != "label"
    label = wanted.label or ("label" if free else "")
    return Layout(wanted.type or _guess(schema, label), label, wanted.key)


def _guess(schema: pa.Schema, label: str) -> str:
    """Images tell themselves by their shape; anything flat is tabular; the rest is generic."""
    if label and any((field.metadata or {}).get(b"shape", b"").count(b",") == 2 for field in schema):
        return "image"
    kinds = [stored_type(field.type) for field in schema]
    return "tabular" if all(is_flat(kind) or pa.types.is_null(kind) for kind in kinds) else "generic"


def _pieces(part: Part, schema: pa.Schema | None) -> Iterator[Piece]:
    """The batches of one part with any rows; each has been checked in full.

    Reading a batch whose offsets lie, or whose text is no UTF-8, would be undefined.
    """
    first = 0
    try:
        for batch in part.open(schema):
            batch.validate(full=True)
            if batch.num_rows:
                yield Piece(part.source, first, batch)
            first += batch.num_rows
    except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
        message = f"{part.source} cannot be read at or after row {first}: {str(error)[:300]}"
        raise DataError(message, "mend the file, or write it anew") from None
    if not first:
        raise DataError(f"{part.source} has no rows", "commit at least one row")


def _stored(pieces: Iterator[Piece], schema: pa.Schema, layout: Layout) -> Iterator[pa.RecordBatch]:
    kind = get_type(layout.type)
    for source, first, whole in pieces:
        rows = batch_rows(whole.nbytes / whole.num_rows)
        for start in range(0, whole.num_rows, rows):
            try:
                batch = fit(whole.slice(start, rows), schema, first + start)
                check_nulls(kind, batch, layout, first + start)
                check_classes(batch, layout, first + start)
            except DataError as error:
                raise _located(error, source) from None
            yield batch


def fit(batch: pa.RecordBatch, schema: pa.Schema, first: int = 0) -> pa.RecordBatch:
    """The batch with the columns of a schema in its order and types, without a copy where it has them.

    Raises:
        DataError: a column is absent or more, of another type, or row `first + n` has a value that does not fit.
    """
    odd = [name for name in dict.fromkeys([*schema.names, *batch.schema.names]) if _differs(name, batch.schema, schema)]
    if odd:
        there = "is not one of the columns" if odd[0] in batch.schema.names else "is missing"
        hint = f"the columns are {', '.join(map(ascii, schema.names[:20]))}"
        raise DataError(f"the column {odd[0]!a} {there}", hint)
    columns = [_fit_column(batch.column(field.name), field, first) for field in schema]
    return pa.RecordBatch.from_arrays(columns, schema=schema)


def _differs(name: str, given: pa.Schema, needed: pa.Schema) -> bool:
    return len(given.get_all_field_indices(name)) != 1 or name not in needed.names


def _fit_column(column: pa.Array, field: pa.Field, first: int) -> pa.Array:
    check_fits(column.type, field)
    try:
        return stored_column(column, field.type)
    except pa.ArrowException as error:
        row = next((n for n in range(len(column)) if not _is_stored(column.slice(n, 1), field.type)), 0)
        value = ascii(column[row].as_py())[:80]
        message = f"row {first + row} of column {field.name!a} does not fit into {field.type}: {value}"
        raise DataError(f"{message} ({str(error)[:120]})", "make it like the rows before it") from None


def _is_stored(cell: pa.Array, kind: pa.DataType) -> bool:
    try:
        stored_column(cell, kind)
    except pa.ArrowException:
        return False
    return True


def _located(error: DataError, source: str) -> DataError:
    return DataError(f"{source}: {error.message}", error.hint)
