"""Labels as numbers. Whole numbers are classes as they are; text becomes its place among the declared classes.

The classes stand in the metadata of the label's field (`classes`, a JSON list): either declared when the dataset is
made, then the order is theirs for good; or, when a snapshot is read, the labels of its whole version in sorted order.
Both depend on the data alone, so every split, batch, process and store numbers them alike.
"""

import json
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.compute as pc

from airloom.datasets.storage.schema import Layout
from airloom.datasets.types.tensors import tensor
from airloom.errors import DataError

if TYPE_CHECKING:
    import numpy as np


def classes_of(schema: pa.Schema, layout: Layout) -> list[str]:
    """The declared classes of a text label, in the order of their numbers; [] where none are.

    Raises:
        DataError: what stands in the field's metadata are no classes.
    """
    text = (schema.field(layout.label).metadata or {}).get(b"classes", b"[]") if layout.label else b"[]"
    try:
        classes = list(json.loads(text))
        "".join(classes).encode()  # text, and none of it half a surrogate pair
    except (ValueError, TypeError, RecursionError):
        message = f"the classes of {layout.label!a} are {text[:60]!a}"
        raise DataError(message, "they must be a JSON list of text") from None
    return classes


def declare(schema: pa.Schema, layout: Layout, classes: Iterable[str]) -> pa.Schema:
    """The schema with the classes of its text label, in the order given.

    Raises:
        DataError: the label is no text, or a class stands there twice.
    """
    names = list(classes)
    place = schema.get_field_index(layout.label)
    if place < 0 or schema.field(place).type != pa.large_string():
        raise DataError(f"classes go with a text label; {layout.label!a} is none", "whole numbers are classes already")
    if len(set(names)) != len(names):
        twice = next(name for name in names if names.count(name) > 1)
        raise DataError(f"the class {twice!a} stands there twice", "name each class once")
    field = schema.field(place)
    return schema.set(place, field.with_metadata((field.metadata or {}) | {b"classes": json.dumps(names)}))


def declare_found(schema: pa.Schema, layout: Layout, labels: Iterable[str]) -> pa.Schema:
    """The schema with the labels of a version as classes, sorted; as it is when it needs none or has them."""
    if not layout.label or classes_of(schema, layout) or schema.field(layout.label).type != pa.large_string():
        return schema
    return declare(schema, layout, sorted(set(labels)))


def check_classes(batch: pa.RecordBatch | pa.Table, layout: Layout, first: int = 0) -> None:
    """Each label is one of the declared classes.

    Raises:
        DataError: naming the first that is not, and its row.
    """
    classes = classes_of(batch.schema, layout)
    if not classes:
        return
    column = batch.column(layout.label)
    known = pc.is_in(column, pa.array([*classes, None], column.type))
    stranger = int(pc.index(known, False).as_py())
    if stranger >= 0:
        _unknown(column[stranger].as_py(), classes, f"row {first + stranger}: ")


def label_tensor(columns: "dict[str, np.ndarray[Any, Any] | list[Any]]", schema: pa.Schema, layout: Layout) -> Any:
    """The labels as a tensor, numbers as they are and text as class numbers (int64); None without a label.

    Raises:
        DataError: a text label is none of the classes, or none are declared.
    """
    if not layout.label:
        return None
    labels = columns[layout.label]
    if not isinstance(labels, list) or schema.field(layout.label).type != pa.large_string():
        return tensor(labels)
    import torch

    classes = classes_of(schema, layout)
    if not classes:
        raise DataError(f"the classes of the label {layout.label!a} are not declared", "read it through a snapshot")
    numbers = {name: number for number, name in enumerate(classes)}
    try:
        return torch.tensor([numbers[label] for label in labels], dtype=torch.int64)
    except KeyError as error:
        _unknown(error.args[0], classes)


def _unknown(label: Any, classes: list[str], where: str = "") -> None:
    message = f"{where}the label {str(label)[:80]!a} is none of the {len(classes)} classes"
    raise DataError(message, f"they are {', '.join(map(ascii, classes[:20]))}")
