"""A published split: which part of it the value of a column names."""

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from airloom.datasets.storage.part_names import PARTS, value_text
from airloom.errors import DataError

Array = np.ndarray[Any, Any]


def check_column(schema: pa.Schema, name: str) -> None:
    """The column of a published split is there, and of text, whole numbers or truths.

    Raises:
        DataError: it is not.
    """
    kind = schema.field(name).type if name in schema.names else None
    if kind is None:
        there = ", ".join(map(ascii, schema.names[:20]))
        raise DataError(f"there is no column {name[:80]!a} to tell the split; there are {there}", "name one of them")
    if kind != pa.large_string() and not pa.types.is_integer(kind) and not pa.types.is_boolean(kind):
        message = f"the column {name!a} is {kind}; a split is told by text, whole numbers or truths"
        raise DataError(message, "say another column, or its type: --column NAME=text")


def parts_of(column: pa.Array | pa.ChunkedArray, names: Mapping[str, Iterable[str]]) -> Array:
    """Of each cell the place of its part in `PARTS`, int8 (n,); -1 where its value names none."""
    text = column if column.type == pa.large_string() else column.cast(pa.large_string())
    places = np.full(len(text), -1, np.int8)
    for place, part in enumerate(PARTS):
        if values := list(names.get(part, ())):
            places[np.asarray(pc.is_in(text, value_set=pa.array(values, pa.large_string())))] = place
    return places


def refuse_unnamed(
    column: pa.Array | pa.ChunkedArray, places: Array, names: Mapping[str, Iterable[str]], where: Callable[[int], str]
) -> None:
    """Refuse a column in which a value names no part.

    Args:
        column: the cells.
        places: as `parts_of` returned them.
        names: the values that name each part.
        where: what a message calls a cell, by its number in the column.

    Raises:
        DataError: naming the first such cell and its value.
    """
    wrong = np.flatnonzero(places < 0)
    if not len(wrong):
        return
    value = column[int(wrong[0])].as_py()
    said = "is empty" if value is None else f"{value_text(value)[:80]!a} names no part of the split"
    known = "; ".join(f"{part}: {', '.join(map(ascii, values))}" for part, values in names.items() if values)
    message = f"{where(int(wrong[0]))} {said}"
    raise DataError(message, f"the parts are {known}; a value of another name is given to its part: `train=VALUE`")
