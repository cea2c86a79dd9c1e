"""Labels as names, and as the numbers of one model. A dataset stores labels; it knows no order of its classes.

Who reads rows for a model writes its list of names into the metadata of the label's field (`classes`, a JSON list, in
memory only), and `label_tensor` numbers the labels by it. Versions that earlier releases made may hold such a list in
their schema, and so in their id: nothing reads it but what asks how those releases numbered.
"""

import json
from collections.abc import Collection, Iterable
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.compute as pc

from airloom.classes import Label, name_of
from airloom.datasets.storage.schema import Layout
from airloom.datasets.types.tensors import tensor
from airloom.errors import DataError

if TYPE_CHECKING:
    import numpy as np

TRUTH = {"true": True, "false": False}


def is_class(kind: pa.DataType) -> bool:
    """Whether labels of a type are classes: text, whole numbers, booleans. Fractions are numbers to be predicted."""
    return bool(kind == pa.large_string() or pa.types.is_integer(kind) or pa.types.is_boolean(kind))


def label_of(name: str, kind: pa.DataType) -> Label:
    """The label of a class as a dataset stores it: the inverse of `name_of`."""
    if pa.types.is_boolean(kind):
        return TRUTH[name]
    return int(name) if pa.types.is_integer(kind) else name


def label_names(labels: "np.ndarray[Any, Any] | list[Any]") -> list[str] | None:
    """The names of gathered labels; None where they are no classes."""
    values = labels if isinstance(labels, list) else labels.tolist() if labels.dtype.kind in "iub" else None
    if values is None or not all(isinstance(value, str | int) for value in values):
        return None
    return [name_of(value) for value in values]


def classes_of(schema: pa.Schema, layout: Layout) -> list[str]:
    """The names by which labels are numbered, in the order of the numbers; [] where nobody said them.

    Raises:
        DataError: what stands in the field's metadata are no classes.
    """
    text = (schema.field(layout.label).metadata or {}).get(b"classes", b"[]") if layout.label else b"[]"
    return list(_parsed(text, layout.label))


@lru_cache(maxsize=16)
def _parsed(text: bytes, label: str) -> dict[str, int]:
    """Numbers by name; kept, as each batch of a loader asks."""
    try:
        classes = list(json.loads(text))
        "".join(classes).encode()  # text, and none of it half a surrogate pair
    except (ValueError, TypeError, RecursionError):
        message = f"the classes of {label!a} are {text[:60]!a}"
        raise DataError(message, "they must be a JSON list of text") from None
    return {name: number for number, name in enumerate(classes)}


def numbered(schema: pa.Schema, layout: Layout, classes: Iterable[str]) -> pa.Schema:
    """The schema with the names by which `label_tensor` numbers the labels, in the order given.

    Raises:
        DataError: the label is no class, or a name stands there twice.
    """
    names = list(classes)
    place = schema.get_field_index(layout.label)
    if place < 0 or not is_class(schema.field(place).type):
        raise DataError(f"the label {layout.label!a} is no class", "classes are text, whole numbers or booleans")
    if len(set(names)) != len(names):
        twice = next(name for name in names if names.count(name) > 1)
        raise DataError(f"the class {twice!a} stands there twice", "name each class once")
    field = schema.field(place)
    return schema.set(place, field.with_metadata((field.metadata or {}) | {b"classes": json.dumps(names)}))


def without_order(schema: pa.Schema) -> pa.Schema:
    """The schema as new versions have it: no field says an order of classes."""
    for place, field in enumerate(schema):
        left = {key: value for key, value in (field.metadata or {}).items() if key != b"classes"}
        if left != (field.metadata or {}):
            schema = schema.set(place, field.with_metadata(left or None))
    return schema


def check_labels(batch: pa.RecordBatch | pa.Table, layout: Layout, allowed: Collection[str], first: int = 0) -> None:
    """Each label is one of these names; without names any label is good.

    Raises:
        DataError: naming the first that is not, and its row; or the labels are no classes.
    """
    if not allowed:
        return
    column = batch.column(layout.label) if layout.label else None
    if column is None or not is_class(column.type):
        what = "there is no label" if column is None else f"the label {layout.label!a} is {column.type}"
        raise DataError(f"{what}, and no class", "leave the classes out")
    names = pc.cast(column, pa.large_string())
    stranger = pc.index(pc.is_in(names, pa.array([*allowed, None], pa.large_string())), False).as_py()
    if stranger >= 0:
        raise _unknown(names[stranger].as_py(), list(allowed), f"row {first + stranger}: ")


def label_tensor(columns: "dict[str, np.ndarray[Any, Any] | list[Any]]", schema: pa.Schema, layout: Layout) -> Any:
    """The labels as a tensor, (n,): by the classes that the schema names (int64), else numbers as they are.

    Without a label, None.

    Raises:
        DataError: a label is none of the classes, or it is text and none are named.
    """
    if not layout.label:
        return None
    labels, field = columns[layout.label], schema.field(layout.label)
    text = (field.metadata or {}).get(b"classes", b"[]")
    numbers = _parsed(text, layout.label)
    if isinstance(labels, list):
        if field.type != pa.large_string():
            return tensor(labels)
        if not numbers:
            raise DataError(f"nothing numbers the classes of the label {layout.label!a}", "read it through a snapshot")
        return _of_text(labels, numbers)
    return _of_numbers(labels, text, layout.label) if numbers and labels.dtype.kind in "iub" else tensor(labels)


def _of_text(labels: list[Any], numbers: dict[str, int]) -> Any:
    import torch

    try:
        return torch.tensor([numbers[label] for label in labels], dtype=torch.int64)
    except KeyError as error:
        raise _unknown(error.args[0], list(numbers)) from None


def _of_numbers(labels: "np.ndarray[Any, Any]", text: bytes, label: str) -> Any:
    """Without a copy where each class is called as its number, which is usual."""
    import numpy as np

    order, known = _sorted(text, label, labels.dtype.str)
    places = np.minimum(np.searchsorted(known, labels), len(known) - 1)
    if len(strange := labels[known[places] != labels]):
        raise _unknown(strange[0].item(), list(_parsed(text, label)))
    return tensor(labels if order is None else order[places])


@lru_cache(maxsize=16)
def _sorted(text: bytes, label: str, dtype: str) -> "tuple[np.ndarray[Any, Any] | None, np.ndarray[Any, Any]]":
    """The classes' labels, ascending, and the number of each; None where the labels are the numbers."""
    import numpy as np

    kind = np.dtype(dtype)
    labels = np.array([label_of(name, pa.from_numpy_dtype(kind)) for name in _parsed(text, label)], kind)
    if kind == np.int64 and np.array_equal(labels, np.arange(len(labels))):
        return None, labels
    order = labels.argsort(kind="stable").astype(np.int64)
    return order, labels[order]


def _unknown(label: Any, classes: list[str], where: str = "") -> DataError:
    message = f"{where}the label {name_of(label)[:80]!a} is none of the {len(classes)} classes"
    return DataError(message, f"they are {', '.join(map(ascii, classes[:20]))}")
