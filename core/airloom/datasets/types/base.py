"""What a dataset type is, and the checks that several of them share."""

import difflib
import re
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

import pyarrow as pa
import pyarrow.compute as pc

from airloom.datasets.storage.parts import check_column
from airloom.datasets.storage.schema import Layout
from airloom.errors import DataError

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd


Limits = dict[str, tuple[float | None, float | None]]


class WrongRow(DataError):
    """A value that a type refuses only when it measures the rows.

    Args:
        row: number of the row in the table that is measured.
        problem: what is wrong with it.
        hint: what to do about it.
    """

    def __init__(self, row: int, problem: str, hint: str) -> None:
        super().__init__(f"row {row}: {problem}", hint)
        self.row, self.problem = row, problem

    def after(self, rows: int) -> "WrongRow":
        """The same where so many rows come before the table."""
        return WrongRow(self.row + rows, self.problem, self.hint)


@runtime_checkable
class DatasetType(Protocol):
    """A kind of dataset: which columns it needs, what is measured of a row, what a model gets.

    `nullable` says whether cells may be empty. A type knows neither files nor versions; its columns are normalised
    already (`airloom.datasets.ingest.normalise`). Besides what stands here, it may have
    `equal_inputs`: what its datasets do with rows whose inputs are there already (`airloom.datasets.equal_inputs`),
    `limits`: the lowest and highest value that a measure of its profile can have, None for no limit, and
    `constant`: the measures that are the same in every row; drafts of expectations hold these two, and
    `to_arrays`: the inputs of `to_tensors` alone, as arrays, where torch is not to be imported for them.
    """

    name: str
    nullable: bool

    def check(self, schema: pa.Schema, layout: Layout) -> None:
        """Raise a DataError that names the column, what is there and what is needed."""

    def profile(self, table: pa.Table, layout: Layout) -> "pd.DataFrame":
        """A few numbers a row, and the label under its own name: for validation, statistics and drift."""

    def to_tensors(
        self, columns: "dict[str, np.ndarray[Any, Any] | list[Any]]", schema: pa.Schema, layout: Layout
    ) -> tuple[Any, Any]:
        """Inputs and labels of gathered rows, sharing the arrays' memory where torch can; labels None without one."""


def shape_of(field: pa.Field) -> tuple[int, ...]:
    """The shape of one cell, of the field's metadata; () where there is none.

    Raises:
        DataError: what stands there is no shape.
    """
    text = (field.metadata or {}).get(b"shape", b"")
    if text and not re.fullmatch(rb"\d{1,9}(,\d{1,9})*", text):
        raise DataError(f"the shape of column {field.name!a} is {text[:40]!a}", "it must be like 1,8,8")
    return tuple(int(size) for size in text.split(b",")) if text else ()


def check_roles(schema: pa.Schema, layout: Layout) -> None:
    """The label and the key of a layout are columns, and not the same one.

    Raises:
        DataError: naming the column that is absent, and those that are there.
    """
    for role, name in (("label", layout.label), ("key", layout.key), ("split", layout.split)):
        if name and name not in schema.names:
            close = difflib.get_close_matches(name, schema.names, 1)
            there = ", ".join(map(ascii, schema.names[:20]))
            hint = f"did you mean {close[0]!a}?" if close else "name a column that is there"
            raise DataError(f"there is no column {name[:80]!a} to be the {role}; there are {there}", hint)
    if layout.label and layout.label == layout.key:
        raise DataError(f"column {layout.label!a} cannot be label and key", "a key says which row it is, not its class")
    if layout.split:
        if layout.split in (layout.label, layout.key):
            role = "label" if layout.split == layout.label else "key"
            message = f"column {layout.split!a} cannot be the {role} and tell the split"
            raise DataError(message, "a published split has a column of its own")
        check_column(schema, layout.split)
    if not layout.inputs(schema):
        raise DataError(f"there is no column besides label and key: {schema.names}", "add what a model shall see")


def check_class_label(schema: pa.Schema, layout: Layout) -> None:
    """A label is of whole numbers (int64) or text: a class. Or several of a row: lists of names, of numbers, or a mask,
    which beside picture files may be one, too.

    Rows may have none, for an autoencoder or a language model.

    Raises:
        DataError: it is of another kind.
    """
    if not layout.label:
        return
    kind = schema.field(layout.label).type
    of_files = layout.type == "image" and kind == pa.large_binary() == one_input(schema, layout).type
    if kind not in (pa.int64(), pa.large_string()) and not _is_several(kind) and not of_files:
        message = f"the label {layout.label!a} is {kind}; {layout.type} classification needs whole numbers or text"
        one = pa.types.is_fixed_size_list(kind) and kind.list_size == 1
        raise DataError(message, "save labels.reshape(-1)" if one else "give classes, or use the type tabular")


def _is_several(kind: pa.DataType) -> bool:
    """Lists of names or numbers, also in lists; one number in a list is a class that was saved so by mistake."""
    if pa.types.is_fixed_size_list(kind) and kind.list_size == 1:
        return False
    if not pa.types.is_fixed_size_list(kind) and not pa.types.is_large_list(kind):
        return False
    inner = kind.value_type
    number = pa.types.is_integer(inner) or pa.types.is_floating(inner)
    return bool(number or inner == pa.large_string() or _is_several(inner))


def one_input(schema: pa.Schema, layout: Layout) -> pa.Field:
    """The only column besides label, key and that of a published split.

    Raises:
        DataError: there are several.
    """
    names = layout.inputs(schema)
    if len(names) != 1:
        message = f"a dataset of type {layout.type} has one input column, here are {', '.join(map(ascii, names[:20]))}"
        raise DataError(message, "leave the others out, declare one as the key, or use the type generic")
    return schema.field(names[0])


def the_input(columns: dict[str, Any], schema: pa.Schema, layout: Layout) -> Any:
    """The values of the only input column, of a batch that has all inputs and perhaps the label.

    Raises:
        DataError: there are several.
    """
    names = [name for name in columns if name != layout.label]  # of a batch: the schema takes longer to ask
    return columns[names[0] if len(names) == 1 else one_input(schema, layout).name]


def check_nulls(kind: DatasetType, batch: pa.RecordBatch | pa.Table, layout: Layout, first: int = 0) -> None:
    """Cells that must have a value have one: all, unless the type is nullable; a key always.

    Args:
        kind: the dataset's type.
        batch: rows with normalised columns.
        layout: roles of the columns.
        first: number of the batch's first row, for the message.

    Raises:
        DataError: naming the column and its first row without a value, counted from 0.
    """
    for name in batch.schema.names:
        if kind.nullable and name != layout.key:
            continue
        empty = _first_empty(batch.column(name))
        if empty is not None:
            message = f"there is no value in column {name}, row {first + empty}"
            raise DataError(message, "fill in or leave out such rows; a key, image or text must be there")


def _first_empty(column: pa.Array | pa.ChunkedArray) -> int | None:
    """The first row that is null or a list with a null in it."""
    if column.null_count:
        return int(pc.index(pc.is_null(column), True).as_py())
    if pa.types.is_fixed_size_list(column.type):
        inner = pc.list_flatten(column)
        if inner.null_count:
            return int(pc.index(pc.is_null(inner), True).as_py()) // int(column.type.list_size)
    return None
