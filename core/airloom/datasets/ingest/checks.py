"""What rows of any kind of file must be like, whatever the dataset's suite says: told by row, column and value."""

import difflib
from collections.abc import Iterable

import pyarrow as pa
import pyarrow.compute as pc

from airloom.datasets.ingest.batches import Reading
from airloom.datasets.storage.parts import parts_of, refuse_unnamed
from airloom.datasets.storage.schema import Layout
from airloom.datasets.types.base import shape_of
from airloom.datasets.types.image import flat_pixels
from airloom.errors import DataError

COLOURS = (1, 3, 4)


def check_elements(batch: pa.RecordBatch, first: int) -> None:
    """Lists of numbers have no empty element: nothing that reads them could tell it from a number.

    Raises:
        DataError: naming the row and the column.
    """
    for field, column in zip(batch.schema, batch.columns, strict=True):
        kind = field.type
        listed = pa.types.is_fixed_size_list(kind) or pa.types.is_large_list(kind)
        if listed and pa.types.is_primitive(kind.value_type) and pc.list_flatten(column).null_count:
            row = next(row for row in range(len(column)) if pc.list_flatten(column.slice(row, 1)).null_count)
            place = next(n for n, value in enumerate(column[row].as_py()) if value is None)
            message = f"row {first + row} of column {field.name!a}: element {place} of the list is empty"
            raise DataError(message, "fill it in, or leave the row out")


def check_told(schema: pa.Schema) -> None:
    """The elements of new lists have a type: there is one that is not empty.

    Raises:
        DataError: naming the column whose lists are all empty.
    """
    for field in schema:
        kind = field.type
        while pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind):
            kind = kind.value_type
        if pa.types.is_null(kind) and kind != field.type:
            message = f"the lists of column {field.name!a} are all empty, which tells no type"
            raise DataError(message, f"say it: --column '{field.name}=list<int64>'")


def labelled(batch: pa.RecordBatch, layout: Layout, first: int, reading: Reading) -> pa.RecordBatch:
    """The rows that have a label: a class, a number or text that is not empty.

    Raises:
        DataError: naming the first row without, where such rows are not to be dropped.
    """
    if not layout.label:
        return batch
    label = batch.column(layout.label)
    missing = pc.is_null(label, nan_is_null=True)
    if label.type == pa.large_string():
        missing = pc.or_(missing, pc.equal(pc.fill_null(label, ""), ""))
    if not pc.any(missing).as_py():
        return batch
    if reading.unlabelled == "drop":
        return batch.filter(pc.invert(missing))
    row = first + pc.index(missing, True).as_py()
    message = f"there is no label in column {layout.label!a}, row {row}"
    raise DataError(message, "fill it in, or leave such rows out: `--unlabelled drop`")


def check_parts(batch: pa.RecordBatch, layout: Layout, first: int) -> None:
    """Each row of a published split names its part.

    Raises:
        DataError: naming the first row that does not, and the value.
    """
    if layout.split:
        column, name = batch.column(layout.split), layout.split
        places = parts_of(column, layout.parts)
        refuse_unnamed(column, places, layout.parts, lambda row: f"row {first + row} of column {name!a}:")


def check_pixels(batch: pa.RecordBatch, layout: Layout, first: int) -> None:
    """Pixels that are fractions lie between 0 and 1.

    Raises:
        DataError: naming the first image with others, and the pixel.
    """
    if layout.type != "image":
        return
    name = layout.inputs(batch.schema)[0]
    column = batch.column(name)
    if not pa.types.is_fixed_size_list(column.type) or not pa.types.is_floating(column.type.value_type):
        return
    pixels = flat_pixels(column)
    if pixels.min() >= 0 and pixels.max() <= 1:  # quick; not so where a pixel is NaN, which the suite judges
        return
    beyond = (pixels < 0) | (pixels > 1)
    if beyond.any():
        row = int(beyond.any(axis=1).argmax())
        value = pixels[row][beyond[row]][0]
        message = f"row {first + row} of column {name!a} has a pixel of {value:g}, beyond 0 to 1"
        raise DataError(message, "divide 0 to 255 by 255, or give them as uint8")


def turned(batch: pa.RecordBatch, channels: str) -> pa.RecordBatch:
    """Images with their channels first: (n, h, w, c) becomes (n, c, h, w) where `channels` is "last"."""
    if channels != "last":
        return batch
    columns, fields = list(batch.columns), list(batch.schema)
    for place, field in enumerate(fields):
        shape = shape_of(field)
        if len(shape) == 3 and pa.types.is_fixed_size_list(field.type):
            height, width, depth = shape
            pixels = flat_pixels(columns[place]).reshape(-1, *shape).transpose(0, 3, 1, 2)
            flat = pa.array(pixels.reshape(-1), field.type.value_type)
            columns[place] = pa.FixedSizeListArray.from_arrays(flat, field.type.list_size)
            fields[place] = field.with_metadata({b"shape": f"{depth},{height},{width}".encode()})
    return pa.RecordBatch.from_arrays(columns, schema=pa.schema(fields))


def check_channels(schema: pa.Schema, layout: Layout, channels: str) -> None:
    """The channels of new images stand first, or the caller says where.

    Raises:
        DataError: the shape looks like height, width, channels, or has no channels.
    """
    for field in schema:
        shape = shape_of(field) if layout.type == "image" and field.name != layout.label else ()
        if len(shape) == 2:
            message = f"the images of column {field.name!a} have the shape {shape} without channels"
            raise DataError(message, "give them one: images[:, None]")
        if len(shape) == 3 and not channels and shape[0] not in COLOURS and shape[2] in COLOURS:
            message = f"the images of column {field.name!a} have the shape {shape}: {shape[0]} channels?"
            hint = "channels come first; `--channels last` turns the images, `--channels first` takes them as they are"
            raise DataError(message, hint)


def check_named(names: Iterable[str], there: Iterable[str]) -> None:
    """The columns whose type was named are there.

    Raises:
        DataError: naming the first that is not.
    """
    known = list(there)
    for name in names:
        if name not in known:
            close = difflib.get_close_matches(name, known, 1)
            hint = f"did you mean {close[0]!a}?" if close else f"there are {', '.join(map(ascii, known[:20]))}"
            raise DataError(f"there is no column {name[:80]!a} to be of the type that --column gives it", hint)
