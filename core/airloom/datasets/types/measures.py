"""Arrow columns as pandas series that Great Expectations can compare."""

from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.compute as pc

if TYPE_CHECKING:
    import pandas as pd


def series(column: pa.ChunkedArray) -> "pd.Series":
    """Whole numbers stay whole where some are missing, decimals become floats, dates times, other times seconds."""
    import pandas as pd

    kind = column.type
    if pa.types.is_decimal(kind):
        column = column.cast(pa.float64())
    elif pa.types.is_date(kind):
        column = column.cast(pa.timestamp("ms"))
    elif pa.types.is_duration(kind) or pa.types.is_time(kind):
        unit = {"s": 1, "ms": 1e3, "us": 1e6, "ns": 1e9}[kind.unit]
        width = pa.int32() if kind.bit_width == 32 else pa.int64()
        return column.cast(width).cast(pa.int64()).to_pandas() / unit
    elif column.null_count and (pa.types.is_integer(kind) or pa.types.is_boolean(kind)):
        name = "boolean" if pa.types.is_boolean(kind) else str(kind).replace("int", "Int").replace("u", "U")
        return column.to_pandas(types_mapper=lambda _: pd.api.types.pandas_dtype(name))
    return column.to_pandas()


def of_label(name: str, column: pa.ChunkedArray) -> "dict[str, pd.Series]":
    """A label under its own name; several labels, numbers or a mask by what can be said of any column."""
    kind = column.type
    nested = pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind)
    other = nested or pa.types.is_struct(kind) or pa.types.is_large_binary(kind)
    return generic(name, column) if other else {name: series(column)}


def generic(name: str, column: pa.ChunkedArray) -> "dict[str, pd.Series]":
    """What can be said of any column: a flat one as it is, of others the size, of lists of numbers the range."""
    kind = column.type
    if pa.types.is_large_string(kind):
        return {f"{name}.characters": series(pc.utf8_length(column))}
    if pa.types.is_large_binary(kind) or pa.types.is_fixed_size_binary(kind):
        return {f"{name}.bytes": series(pc.binary_length(column))}
    numbers = pa.types.is_fixed_size_list(kind) and pa.types.is_primitive(kind.value_type) and kind.list_size
    if numbers and not column.null_count:
        return _ranges(name, column)
    if pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind):
        return {f"{name}.items": series(pc.list_value_length(column))}
    if pa.types.is_primitive(kind) or pa.types.is_decimal(kind):
        return {name: series(column)}
    return {f"{name}.present": series(pc.is_valid(column))}


def _ranges(name: str, column: pa.ChunkedArray) -> "dict[str, pd.Series]":
    import numpy as np
    import pandas as pd

    parts: list[list[Any]] = [[], [], []]
    for chunk in column.chunks:
        flat = chunk.flatten().to_numpy(zero_copy_only=False).reshape(len(chunk), column.type.list_size)
        for part, values in zip(parts, (flat.mean(axis=1), flat.min(axis=1), flat.max(axis=1)), strict=True):
            part.append(values)
    names = (f"{name}.mean", f"{name}.lowest", f"{name}.highest")
    return {key: pd.Series(np.concatenate(part) if part else []) for key, part in zip(names, parts, strict=True)}
