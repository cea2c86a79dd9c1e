"""The types in which columns are stored, and their names: `text`, `int64`, `timestamp[s, UTC]`, `decimal(10,2)`."""

import re

import pyarrow as pa

from airloom.errors import ConfigError

NAMES = {
    "text": pa.large_string(),
    "bytes": pa.large_binary(),
    "date": pa.date32(),
    "float64": pa.float64(),
    "float32": pa.float32(),
    "float16": pa.float16(),
}
KNOWN = "text, int64 (8 to 64, uint), float64, bool, date, timestamp[s], timestamp[s, UTC], decimal(10,2), list<int64>"


def parse_type(name: str) -> pa.DataType:
    """The type of a name, in the form in which it is stored; Arrow's own names are known too.

    Raises:
        ConfigError: there is no such type.
    """
    text = name.strip()
    if text in NAMES:
        return NAMES[text]
    try:
        if inner := re.fullmatch(r"list<(?:\w+: )?(.+)>", text):
            return pa.large_list(parse_type(inner[1]))
        if timestamp := re.fullmatch(r"timestamp\[(s|ms|us|ns), ?(?:tz=)?([\w/+:-]+)\]", text):
            return pa.timestamp(timestamp[1], timestamp[2])
        if time := re.fullmatch(r"time(?:32|64)?\[(s|ms|us|ns)\]", text):
            return pa.time32(time[1]) if time[1] in ("s", "ms") else pa.time64(time[1])
        if decimal := re.fullmatch(r"decimal(?:128)?\((\d{1,2}), ?(\d{1,2})\)", text):
            return pa.decimal128(int(decimal[1]), int(decimal[2]))
        return stored_type(pa.type_for_alias(text))
    except ValueError:  # pa.ArrowInvalid is one
        raise ConfigError(f"there is no column type {name[:60]!a}", f"for example {KNOWN}") from None


def type_name(kind: pa.DataType) -> str:
    """The name that `parse_type` takes; of types that nobody needs to name, a short one or Arrow's."""
    names = {stored: name for name, stored in NAMES.items()}
    if kind in names:
        return names[kind]
    if pa.types.is_timestamp(kind) and kind.tz:
        return f"timestamp[{kind.unit}, {kind.tz}]"
    if pa.types.is_decimal128(kind):
        return f"decimal({kind.precision},{kind.scale})"
    if pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind):
        return f"list<{type_name(kind.value_type)}>"
    return str(kind)


def stored_type(kind: pa.DataType) -> pa.DataType:
    """The type in which values of a type are stored."""
    if isinstance(kind, pa.BaseExtensionType):
        return stored_type(kind.storage_type)
    if pa.types.is_dictionary(kind) or pa.types.is_run_end_encoded(kind):
        return stored_type(kind.value_type)
    if pa.types.is_string(kind) or pa.types.is_string_view(kind):
        return pa.large_string()
    if pa.types.is_binary(kind) or pa.types.is_binary_view(kind):
        return pa.large_binary()
    if pa.types.is_fixed_size_list(kind):
        return pa.list_(stored_type(kind.value_type), kind.list_size)
    if pa.types.is_list(kind) or pa.types.is_large_list(kind) or _is_list_view(kind):
        return pa.large_list(stored_type(kind.value_type))
    if pa.types.is_struct(kind):
        return pa.struct([pa.field(field.name, stored_type(field.type)) for field in kind])
    if pa.types.is_map(kind):
        return pa.map_(stored_type(kind.key_type), stored_type(kind.item_type))
    return kind


def _is_list_view(kind: pa.DataType) -> bool:
    return bool(pa.types.is_list_view(kind) or pa.types.is_large_list_view(kind))
