"""Batches from anywhere, made into the stored form and checked, one at a time."""

from collections.abc import Iterable, Iterator, Sequence
from itertools import chain
from typing import NamedTuple

import pyarrow as pa
import pyarrow.compute as pc

from airloom.datasets.ingest.batches import Batches, Part, Wanted
from airloom.datasets.ingest.checks import (
    check_channels,
    check_elements,
    check_named,
    check_parts,
    check_pixels,
    check_told,
    labelled,
    turned,
)
from airloom.datasets.ingest.limits import batch_rows, check_columns
from airloom.datasets.ingest.schema import check_fits, stored_column, stored_schema
from airloom.datasets.ingest.text_values import Misfit, convert, narrow
from airloom.datasets.ingest.type_names import stored_type, type_name
from airloom.datasets.storage.schema import Layout
from airloom.datasets.types import get_type
from airloom.datasets.types.base import check_nulls
from airloom.datasets.types.labels import check_labels, without_order
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
    pieces = _pieces(parts[0], wanted.schema, wanted)
    first = next(pieces)
    try:
        check_columns(first.batch.schema.names)
        check_named(wanted.reading.types, first.batch.schema.names)
        layout = layout or _layout(first.batch.schema, wanted)
        kind = get_type(layout.type)
        asked = without_order(wanted.schema) if wanted.schema is not None else None
        schema = asked or stored_schema(first.batch, layout, kind.nullable, wanted.reading.types)
        if wanted.schema is None:
            check_channels(schema, layout, wanted.reading.channels)
            check_told(schema)
        kind.check(schema, layout)
    except UnicodeDecodeError:
        raise DataError(f"{first.source}: a column's name is no UTF-8", "write the file anew") from None
    except DataError as error:
        raise _located(error, first.source) from None
    later = chain.from_iterable(_pieces(part, schema, wanted) for part in parts[1:])
    pieces = chain([first], pieces, later)
    return Batches(schema, layout, _stored(pieces, schema, layout, wanted), source, wanted.notes)


def _layout(schema: pa.Schema, wanted: Wanted) -> Layout:
    free = wanted.schema is None and "label" in schema.names and wanted.key != "label"
    label = wanted.label or ("label" if free else "")
    kind = wanted.type or _guess(schema, label, (wanted.key, wanted.split))
    return Layout(kind, label, wanted.key, wanted.split, dict(wanted.parts))


def _guess(schema: pa.Schema, label: str, roles: tuple[str, ...]) -> str:
    """Images tell themselves by their shape; one text and a class are text; anything flat is tabular, else generic."""
    if label and any((field.metadata or {}).get(b"shape", b"").count(b",") == 2 for field in schema):
        return "image"
    kinds = {field.name: stored_type(field.type) for field in schema}
    inputs = [kind for name, kind in kinds.items() if name not in (label, *roles)]
    is_class = label in kinds and (pa.types.is_integer(kinds[label]) or kinds[label] == pa.large_string())
    if is_class and inputs == [pa.large_string()]:
        return "text"
    return "tabular" if all(is_flat(kind) or pa.types.is_null(kind) for kind in kinds.values()) else "generic"


def _pieces(part: Part, schema: pa.Schema | None, wanted: Wanted) -> Iterator[Piece]:
    """The batches of one part with any rows, in the types that were named; each has been checked in full.

    Reading a batch whose offsets lie, or whose text is no UTF-8, would be undefined.
    """
    first = part.first
    try:
        for batch in part.open(schema):
            batch.validate(full=True)
            if batch.num_rows:
                named = _in_named_types(batch, wanted, first, part.source)
                yield Piece(part.source, first, turned(named, wanted.reading.channels))
            first += batch.num_rows
    except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
        message = f"{part.source} cannot be read at or after row {first}: {str(error)[:300]}"
        raise DataError(message, "mend the file, or write it anew") from None
    if first == part.first:
        raise DataError(f"{part.source} has no rows", "commit at least one row")


def _in_named_types(batch: pa.RecordBatch, wanted: Wanted, first: int, source: str) -> pa.RecordBatch:
    """The batch with the columns that the caller named in their types; the dataset's, where it exists."""
    for name, kind in wanted.reading.types.items():
        places = batch.schema.get_all_field_indices(name)
        if len(places) != 1:
            continue  # said by name, where the first rows are looked at
        if wanted.schema is not None and name in wanted.schema.names:
            kind = wanted.schema.field(name).type
        column = batch.column(places[0])
        try:
            try:
                text = stored_type(column.type) == pa.large_string()
                values = convert(stored_column(column, pa.large_string()), kind, exact=False) if text else None
            except Misfit as misfit:
                raise DataError(f"row {first + misfit.row} of column {name!a}: {misfit}", "mend it") from None
            values = _cast(column, pa.field(name, kind), first) if values is None else values
        except DataError as error:
            raise _located(error, source) from None
        field = batch.schema.field(places[0]).with_type(values.type)
        batch = batch.set_column(places[0], field, values)
    return batch


def _stored(pieces: Iterable[Piece], schema: pa.Schema, layout: Layout, wanted: Wanted) -> Iterator[pa.RecordBatch]:
    kind, dropped = get_type(layout.type), 0
    inputs = [name for name in schema.names if name != layout.label]
    for source, first, whole in pieces:
        rows = batch_rows(whole.nbytes / whole.num_rows)
        for start in range(0, whole.num_rows, rows):
            try:
                batch = fit(whole.slice(start, rows), schema, first + start)
                check_elements(batch, first + start)
                check_nulls(kind, batch.select(inputs), layout, first + start)
                check_labels(batch, layout, wanted.classes, first + start)
                check_parts(batch, layout, first + start)
                check_pixels(batch, layout, first + start)
                left = labelled(batch, layout, first + start, wanted.reading)
            except DataError as error:
                raise _located(error, source) from None
            dropped += batch.num_rows - left.num_rows
            if left.num_rows:
                yield left
    if dropped:
        wanted.notes.append(f"{dropped} rows without a label were left out")


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
    stored = _cast(column, field, first)
    if pa.types.is_fixed_size_list(field.type) and stored_type(column.type) != field.type:
        _check_narrowed(column, field, first)
    return stored


def _cast(column: pa.Array, field: pa.Field, first: int) -> pa.Array:
    try:
        return stored_column(column, field.type)
    except pa.ArrowException as error:
        row = next((n for n in range(len(column)) if not _is_stored(column.slice(n, 1), field.type)), 0)
        value = ascii(column[row].as_py())[:80]
        message = f"row {first + row} of column {field.name!a} does not fit into {field.type}: {value}"
        hint = "make it like the rows before it"
        if pa.types.is_fixed_size_list(field.type):
            hint += f"; --column '{field.name}=list<{type_name(field.type.value_type)}>' takes lists of any length"
        raise DataError(f"{message} ({str(error)[:120]})", hint) from None


def _check_narrowed(column: pa.Array, field: pa.Field, first: int) -> None:
    """Fractions that became narrower are written with the same digits, unless they are pixels."""
    column = column.storage if isinstance(column, pa.ExtensionArray) else column
    given, kind = stored_type(column.type).value_type, field.type.value_type
    pixels = (field.metadata or {}).get(b"shape", b"").count(b",") == 2
    if pixels or not pa.types.is_floating(given) or given.bit_width <= kind.bit_width:
        return
    try:
        narrow(pc.list_flatten(column).cast(given), kind)
    except Misfit as misfit:
        row = first + misfit.row // field.type.list_size
        raise DataError(f"row {row} of column {field.name!a}: {misfit}", "give numbers of that width") from None


def _is_stored(cell: pa.Array, kind: pa.DataType) -> bool:
    try:
        stored_column(cell, kind)
    except pa.ArrowException:
        return False
    return True


def _located(error: DataError, source: str) -> DataError:
    return DataError(f"{source}: {error.message}", error.hint)
