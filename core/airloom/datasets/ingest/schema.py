"""The one form in which columns are stored, so that the same values are the same bytes wherever they come from."""

from collections.abc import Container

import pyarrow as pa
import pyarrow.compute as pc

from airloom.datasets.ingest.type_names import stored_type, type_name
from airloom.datasets.storage.schema import Layout
from airloom.errors import DataError

KEPT = (b"shape",)  # of a field's metadata; the rest is the writing program's


def stored_schema(batch: pa.RecordBatch, layout: Layout, nullable: bool, named: Container[str] = ()) -> pa.Schema:
    """What a first batch's columns become.

    Text and bytes get 64-bit offsets, dictionaries and runs are decoded, lists of numbers of one length get a fixed
    size, whole-number class labels are int64, images uint8 or float32. A column whose type was named keeps it.
    """
    fields = [batch.schema.field(i) for i in range(batch.num_columns)]
    return pa.schema(
        [_field(field, batch.column(field.name), layout, nullable, field.name in named) for field in fields]
    )


def _field(field: pa.Field, column: pa.Array, layout: Layout, nullable: bool, named: bool) -> pa.Field:
    metadata = {key: value for key, value in (field.metadata or {}).items() if key in KEPT}
    if isinstance(field.type, pa.FixedShapeTensorType):
        metadata[b"shape"] = ",".join(map(str, field.type.shape)).encode()
    kind = stored_type(field.type)
    if pa.types.is_large_list(kind) and pa.types.is_primitive(kind.value_type) and not named:
        size = _common_length(column)
        kind = pa.list_(kind.value_type, size) if size else kind
    if layout.type in ("image", "text") and field.name == layout.label:
        kind = pa.int64() if pa.types.is_integer(kind) or pa.types.is_boolean(kind) else kind
    elif layout.type == "image" and pa.types.is_fixed_size_list(kind) and pa.types.is_floating(kind.value_type):
        kind = pa.list_(pa.float32(), kind.list_size)
    return pa.field(field.name, kind, nullable=nullable and field.name != layout.key, metadata=metadata or None)


def stored_column(column: pa.Array, kind: pa.DataType) -> pa.Array:
    """The column in its stored type; without a copy where it has it already.

    Raises:
        pa.ArrowInvalid: a value does not fit.
    """
    if isinstance(column, pa.ExtensionArray):
        return stored_column(column.storage, kind)
    if pa.types.is_run_end_encoded(column.type):
        return stored_column(pc.run_end_decode(column), kind)
    return column if column.type == kind else column.cast(kind)


def _common_length(column: pa.Array) -> int:
    """The length of all lists of the column, 0 where they differ or one is missing."""
    column = column.storage if isinstance(column, pa.ExtensionArray) else column
    lengths = pc.min_max(pc.list_value_length(column))
    same = not column.null_count and lengths["min"].as_py() == lengths["max"].as_py()
    return int(lengths["max"].as_py()) if same else 0


def check_fits(given: pa.DataType, field: pa.Field) -> None:
    """Values of a type may become those of a field without becoming other values.

    Raises:
        DataError: text for numbers, fractions for whole numbers, and so on.
    """
    kind, stored = field.type, stored_type(given)
    if _is_list(stored) and _is_list(kind):
        floats = pa.types.is_floating(stored.value_type) and kind.value_type == pa.float32()
        fits = floats or stored.value_type == kind.value_type  # whether each float fits is looked at by value
    else:
        fits = stored == kind or pa.types.is_null(stored) or _widens(stored, kind)
    if not fits:
        message = f"the column {field.name!a} is {given}, not {kind}"
        hint = (
            f"make it of the type that the rows before it have; --column '{field.name}={type_name(kind)}' converts it"
        )
        raise DataError(message, hint)


def _widens(narrow: pa.DataType, wide: pa.DataType) -> bool:
    """Whole numbers to wider ones or to floats; Arrow refuses each value that would change."""
    if pa.types.is_integer(narrow) or pa.types.is_boolean(narrow):
        return bool(pa.types.is_integer(wide) or pa.types.is_floating(wide))
    return bool(pa.types.is_floating(narrow) and wide == pa.float64())


def _is_list(kind: pa.DataType) -> bool:
    return bool(pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind))
