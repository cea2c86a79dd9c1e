"""Columns of a split that are no input: which rows belong together, and what a metric of one's own may want to know."""

from typing import TYPE_CHECKING, Any

import numpy as np

from airloom.errors import GateError

if TYPE_CHECKING:
    import pyarrow as pa

    from airloom.datasets.snapshots.data import SnapshotData

Array = np.ndarray[Any, Any]


def groups(data: "SnapshotData", split: str, column: str) -> Array:
    """The number of the value that each row has in a column, int64 (n,); the values themselves are not kept.

    Raises:
        GateError: there is no such column, or a cell of it is empty.
    """
    import pyarrow as pa
    import pyarrow.compute as pc

    if column not in data.schema.names:
        there = ", ".join(data.schema.names[:20])
        raise GateError(f"group: the dataset has no column {column!a}", f"its columns are {there}")
    values = pa.chunked_array(
        [c for t in data.tables(split) for c in t.column(column).chunks], data.schema.field(column).type
    )
    if values.null_count:
        row = pc.index(pc.is_null(values), True).as_py()
        raise GateError(f"group: {column!a} of test row {row} is empty", "say of each row where it belongs")
    try:
        numbers = values.combine_chunks().dictionary_encode()
    except pa.ArrowNotImplementedError:
        raise GateError(f"group: {column!a} is {values.type}", "a group is a number or a text") from None
    return numbers.indices.to_numpy().astype(np.int64)  # type: ignore[no-any-return]


def read(data: "SnapshotData", split: str) -> dict[str, Array]:
    """The columns of numbers, truth values and text, key included, (n,) each; an empty cell is NaN, or no text."""
    import pyarrow as pa

    def flat(kind: "pa.DataType") -> bool:
        number = pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_boolean(kind)
        return bool(number or kind == pa.large_string())

    names = [field.name for field in data.schema if flat(field.type)]
    if not names:
        return {}
    table = pa.concat_tables([part.select(names) for part in data.tables(split)])
    columns = {}
    for name in names:
        values = table.column(name)
        if values.type == pa.large_string():
            columns[name] = np.array([cell or "" for cell in values.to_pylist()], np.str_)
        else:
            columns[name] = values.to_numpy()
            if columns[name].dtype == object:  # truth values with empty cells
                columns[name] = np.array([np.nan if cell is None else cell for cell in columns[name]], np.float64)
    return columns
