"""How columns that are no plain numbers reach a batch, where the caller asks for it: padded lists, times as seconds."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from airloom.datasets.reading.columns import Fixed, Lists, is_sequence, numbers, value_shape
from airloom.datasets.reading.mapped import Mapped
from airloom.errors import ConfigError, DataError

MASK = "_mask"  # behind the name of a padded column: 1 where the row has a value, 0 where it was filled up


@dataclass(frozen=True)
class Form:
    """What is asked of a loader.

    Attributes:
        pad: by column of lists, the number that fills a row up to the longest of its batch.
        masked: those of them that get a mask: inputs.
        seconds: times and decimals as float64.
    """

    pad: Mapping[str, int | float] = field(default_factory=dict)
    masked: frozenset[str] = frozenset()
    seconds: bool = False

    def as_floats(self, kind: pa.DataType) -> bool:
        """Whether `floats_of` makes the numbers of a column of this type."""
        return self.seconds and (pa.types.is_temporal(kind) or pa.types.is_decimal(kind))


PLAIN = Form()


def form_of(
    pad: Mapping[str, int | float], schema: pa.Schema, inputs: Sequence[str], label: str, seconds: bool = False
) -> Form:
    """The form that is asked for.

    Raises:
        ConfigError: a column is not there, is no list of numbers, takes no such number, or its mask has no place.
    """
    names = [*inputs, *([label] if label else [])]
    for name, fill in pad.items():
        if name not in names:
            raise ConfigError(f"pad: there is no column {name!r}", f"there are {', '.join(names)}")
        kind = schema.field(name).type
        if not is_sequence(kind) or len(value_shape(schema.field(name))) > 1:
            hint = "only lists of numbers are padded; lists in lists reach a batch as Python lists, for a `transform`"
            raise ConfigError(f"pad: the column {name!r} is {kind}", hint)
        if isinstance(fill, bool) or not _fits(fill, kind.value_type):
            raise ConfigError(f"pad: {name!r} holds {kind.value_type}, which {fill!r} is not", "give such a number")
        if name in inputs and name + MASK in schema.names:
            message = f"pad: the mask of {name!r} would hide the column {name + MASK!r}"
            raise ConfigError(message, "leave that column out of the dataset, or rename it")
    return Form(dict(pad), frozenset(inputs) & frozenset(pad), seconds)


def lengths(mapped: Mapped, rows: NDArray[np.int64], names: Sequence[str]) -> NDArray[np.int64]:
    """How long the longest list of each row is, of these columns; reads offsets only.

    Args:
        mapped: the shards.
        rows: physical numbers, ascending.
        names: columns of lists of numbers.
    """
    longest = np.zeros(len(rows), np.int64)
    bounds = rows.searchsorted(mapped.bases)
    for shard, (start, stop) in enumerate(zip(bounds[:-1].tolist(), bounds[1:].tolist(), strict=True)):
        local = rows[start:stop] - mapped.bases[shard]
        for name in names if start < stop else ():
            column = _lists(mapped, shard, name)
            found = column.values.shape[1] if isinstance(column, Fixed) else column.lengths.take(local)
            np.maximum(longest[start:stop], found, out=longest[start:stop])
    return longest


def padded(
    mapped: Mapped, runs: Sequence[tuple[int, int, int]], local: NDArray[np.int64], name: str, fill: int | float
) -> tuple[NDArray[Any], NDArray[np.int64]]:
    """The lists of a batch as one array (n, longest), at least one wide, and the mask of the same shape.

    An empty list and a missing one are rows of `fill` whose mask is 0 throughout.

    Args:
        mapped: the shards.
        runs: for each touched shard its number, where its rows begin and end in the batch.
        local: the rows' numbers within their shards.
        name: the column.
        fill: what stands behind a row's own values.
    """
    columns = [(_lists(mapped, shard, name), local[start:stop]) for shard, start, stop in runs]
    sizes = [
        np.full(len(rows), column.values.shape[1]) if isinstance(column, Fixed) else column.lengths.take(rows)
        for column, rows in columns
    ]
    size = np.concatenate(sizes) if sizes else np.zeros(0, np.int64)
    kind = columns[0][0].values.dtype if columns else _dtype(mapped.schema.field(name).type)
    out = np.full((len(size), max(1, int(size.max(initial=0)))), fill, kind)
    place = 0
    for (column, rows), counts in zip(columns, sizes, strict=True):
        if isinstance(column, Fixed):
            out[place : place + len(rows), : column.values.shape[1]] = column.values.take(rows, 0)
            place += len(rows)
            continue
        values = column.values
        # A copy a row is quicker than one gather of all values: rows are runs of memory.
        for start, count in zip(column.offsets.take(rows).tolist(), counts.tolist(), strict=True):
            out[place, :count] = values[start : start + count]
            place += 1
    mask = np.arange(out.shape[1]) < size[:, None]
    return out, mask.astype(np.int64)


def floats_of(array: pa.Array) -> NDArray[np.float64]:
    """Times and decimals as float64, NaN for null: seconds since 1970 (UTC) or midnight, or how many they are.

    A float64 tells moments of today apart that lie a quarter of a microsecond from each other.
    """
    kind = array.type
    if pa.types.is_decimal(kind):
        return _filled(array.cast(pa.float64()))
    if pa.types.is_date(kind):
        days = array.cast(pa.date32()).cast(pa.int32()).cast(pa.int64())
        array, unit = pc.multiply(days, 86_400), 1.0
    else:
        width = pa.int32() if kind.bit_width == 32 else pa.int64()
        array, unit = array.cast(width).cast(pa.int64()), {"s": 1.0, "ms": 1e3, "us": 1e6, "ns": 1e9}[kind.unit]
    return _filled(array.cast(pa.float64(), safe=False)) / unit


def _filled(array: pa.DoubleArray) -> NDArray[np.float64]:
    whole = array.fill_null(math.nan)
    return np.array(numbers(whole, pa.field("", pa.float64())))


def _lists(mapped: Mapped, shard: int, name: str) -> "Lists | Fixed":
    column = mapped.column(shard, name)
    if isinstance(column, Lists | Fixed):
        return column
    message = f"column {name!r} has empty cells, or lists with an empty element, and cannot be padded"
    raise DataError(message, "fill them in, or leave such rows out")


def _dtype(kind: pa.DataType) -> np.dtype[Any]:
    made: np.dtype[Any] = np.dtype(kind.value_type.to_pandas_dtype())
    return made


def _fits(fill: Any, kind: pa.DataType) -> bool:
    """Whether a number can stand among those of a type; a fraction is rounded to the width of the others."""
    if pa.types.is_floating(kind):
        return isinstance(fill, int | float)
    try:
        return isinstance(fill, int) and pa.scalar(fill, kind).is_valid
    except (pa.ArrowException, OverflowError):
        return False
