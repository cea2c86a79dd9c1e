"""What a column of one shard looks like to a gather: plain memory where the Arrow layout allows, else Arrow."""

import math
from collections.abc import Container
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from airloom.errors import DataError


@dataclass(frozen=True, slots=True)
class Fixed:
    """Numbers without nulls; `values` is a view of shape (rows, *shape of one value)."""

    array: pa.Array
    values: NDArray[Any]


@dataclass(frozen=True, slots=True)
class Varied:
    """Strings or bytes without nulls: row i is `data[offsets[i]:offsets[i + 1]]`."""

    array: pa.Array
    offsets: NDArray[Any]
    data: memoryview
    text: bool


@dataclass(frozen=True, slots=True)
class Lists:
    """Lists of numbers, of varying length: row i is `values[offsets[i]:][:lengths[i]]`; a null one is empty."""

    array: pa.Array
    offsets: NDArray[Any]
    lengths: NDArray[Any]
    values: NDArray[Any]


@dataclass(frozen=True, slots=True)
class Other:
    """Anything else (nulls, bool, dates, nested); Arrow gathers it, checked once so that damage cannot crash it."""

    array: pa.Array


Column = Fixed | Varied | Lists | Other
GAPS = b"gaps"  # in the metadata of a field: somewhere in the version a cell of it is empty


def view(array: pa.Array, field: pa.Field) -> Column:
    """The quickest correct view of an array; nothing is copied.

    Args:
        array: the column of one shard, sliced or not.
        field: its field; metadata `shape` ("c,h,w") is the shape of one value.

    Raises:
        DataError: `shape` does not fit the length of the lists.
        pa.ArrowInvalid: the buffers contradict each other.
    """
    array.validate()
    values = None if has_gaps(field) else numbers(array, field)
    if values is not None:
        return Fixed(array, values)
    if (_is_text(array.type) or _is_bytes(array.type)) and not array.null_count:
        return _varied(array)
    array.validate(full=True)
    return (_lists(array) if is_sequence(array.type) else None) or Other(array)


def mark_gaps(schema: pa.Schema, names: Container[str]) -> pa.Schema:
    """The schema with a mark on these fields, so that their numbers are floats in every batch, empty cells or not."""
    fields = [f.with_metadata((f.metadata or {}) | {GAPS: b"1"}) if f.name in names else f for f in schema]
    return pa.schema(fields, schema.metadata)


def has_gaps(field: pa.Field) -> bool:
    """Whether it is of numbers or booleans, some of them empty."""
    flat = pa.types.is_integer(field.type) or pa.types.is_floating(field.type) or pa.types.is_boolean(field.type)
    return bool(flat) and GAPS in (field.metadata or {})


def floats(array: pa.Array, name: str) -> NDArray[Any]:
    """A copy with NaN for empty cells: floats of the same width, whole numbers and booleans as float64.

    Raises:
        DataError: a whole number is beyond 2**53, where several become one float.
    """
    kind = array.type if pa.types.is_floating(array.type) else pa.float64()
    try:
        whole = array.cast(kind)
    except pa.ArrowInvalid as error:
        message = f"column {name!r} has empty cells and whole numbers that no float keeps: {str(error)[:160]}"
        raise DataError(message, "make it text, declare it as the key, or fill the empty cells") from None
    values = numbers(pc.if_else(whole.is_valid(), whole, pa.scalar(math.nan, kind)), pa.field("", kind))
    return np.array(values)


def numbers(array: pa.Array, field: pa.Field) -> "NDArray[Any] | None":
    """A view of shape (rows, *shape of one value), or None where the values are no numbers or some are null.

    Raises:
        DataError: `shape` does not fit the length of the lists.
    """
    flat, shape = array, []
    while pa.types.is_fixed_size_list(flat.type) and not flat.null_count:
        size = flat.type.list_size
        shape.append(size)
        flat = flat.values.slice(flat.offset * size, len(flat) * size)  # `values` ignores that an array is a slice
    if flat.null_count or not (pa.types.is_integer(flat.type) or pa.types.is_floating(flat.type)):
        return None
    kind = "f" if pa.types.is_floating(flat.type) else "i" if pa.types.is_signed_integer(flat.type) else "u"
    # Not by to_numpy, which imports pandas first: 200 ms before the first batch.
    memory = np.frombuffer(flat.buffers()[1] or b"", f"{kind}{flat.type.bit_width // 8}", flat.offset + len(flat))
    return memory[flat.offset :].reshape(len(array), *(value_shape(field) or shape))


def value_shape(field: pa.Field) -> list[int]:
    """The shape that the field's metadata gives to one value; empty where it gives none.

    Raises:
        DataError: it does not fit the length of the lists.
    """
    text = (field.metadata or {}).get(b"shape", b"").decode()
    if not text or not pa.types.is_fixed_size_list(field.type):
        return []
    shape = [int(size) if size.strip().isdecimal() else -1 for size in text.split(",")]
    if math.prod(shape) != field.type.list_size or min(shape) < 0:
        hint = f"its metadata `shape` must multiply to the {field.type.list_size} values of a row, such as '3,32,32'"
        raise DataError(f"column {field.name!r} is {field.type} of shape {text!r}", hint)
    return shape


def _varied(array: pa.Array) -> Varied:
    data = array.buffers()[2]
    wide = pa.types.is_large_string(array.type) or pa.types.is_large_binary(array.type)
    flat = memoryview(data if data is not None else b"").cast("B")
    return Varied(array, _offsets(array, wide), flat, _is_text(array.type))


def _offsets(array: pa.Array, wide: bool) -> NDArray[Any]:
    """Where each value begins, and behind them where the last one ends."""
    end = array.offset + len(array) + 1
    # An array without rows may have no offsets at all.
    places = np.frombuffer(array.buffers()[1], np.int64 if wide else np.int32, end) if len(array) else None
    return np.zeros(1, np.int64) if places is None else places[array.offset :]


def is_sequence(kind: pa.DataType) -> bool:
    """Whether values are lists of numbers, of any length or of one."""
    listed = pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind)
    return listed and bool(pa.types.is_integer(kind.value_type) or pa.types.is_floating(kind.value_type))


def _lists(array: pa.Array) -> Lists | None:
    """None where a list holds an empty element, which today's commits refuse: no number says so."""
    valid: Any = numbers(array.is_valid().cast(pa.uint8()), pa.field("", pa.uint8())) if array.null_count else 1
    if pa.types.is_fixed_size_list(array.type):  # with empty cells, else it would be plain numbers
        flat, lengths = pc.list_flatten(array), np.full(len(array), array.type.list_size, np.int64) * valid
        starts = lengths.cumsum() - lengths
    else:
        places = _offsets(array, wide=True)
        flat, starts, lengths = array.values, places[:-1], np.diff(places) * valid
    values = numbers(flat, pa.field("", array.type.value_type))
    return None if values is None else Lists(array, starts, lengths, values)


def _is_text(type_: pa.DataType) -> bool:
    return bool(pa.types.is_large_string(type_) or pa.types.is_string(type_))


def _is_bytes(type_: pa.DataType) -> bool:
    return bool(pa.types.is_large_binary(type_) or pa.types.is_binary(type_))
