"""Whether a batch has the columns of its dataset."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import pyarrow as pa

from airloom.errors import DataError

if TYPE_CHECKING:
    import pyarrow as pa


@dataclass(frozen=True)
class Layout:
    """Roles of the columns; an empty name means that there is no such column."""

    type: str
    label: str = ""
    key: str = ""
    split: str = ""  # the column that tells a published split
    parts: dict[str, list[str]] = field(default_factory=dict, hash=False)  # the values of it that name each part

    def inputs(self, schema: "pa.Schema") -> list[str]:
        """Every column but label, key and that of a published split, in the schema's order."""
        return [name for name in schema.names if name not in (self.label, self.key, self.split)]


def check(dataset: str, old: pa.Schema, layout: Layout, new: pa.Schema, given: Layout) -> None:
    """A batch must have the columns of the dataset, with their types, shapes and roles.

    Args:
        dataset: its name, for the message.
        old: schema of the dataset.
        layout: roles in the dataset.
        new: schema of the batch.
        given: roles in the batch.

    Raises:
        DataError: naming each column that differs.
    """
    names = dict.fromkeys([*old.names, *new.names])
    wrong = [
        f"{name}: {_field(new, name)} instead of {_field(old, name)}"
        for name in names
        if _field(old, name) != _field(new, name)
    ]
    wrong += [
        f"{role}: {getattr(given, role) or 'none'!r} instead of {getattr(layout, role) or 'none'!r}"
        for role in ("type", "label", "key", "split", "parts")
        if getattr(layout, role) != getattr(given, role)
    ]
    if wrong:
        hint = "make the batch with the same columns, or replace all rows: `commit --replace --type TYPE`"
        raise DataError(f"the batch does not fit {dataset}: {'; '.join(wrong)}", hint)


def fit(schema: pa.Schema, batches: "Iterator[pa.RecordBatch]") -> "Iterator[pa.RecordBatch]":
    """The batches with their columns in the schema's order, so that their shards can be read as one table."""
    for batch in batches:
        yield pa.RecordBatch.from_arrays([batch.column(name) for name in schema.names], schema=schema)


def _field(schema: pa.Schema, name: str) -> str:
    if name not in schema.names:
        return "absent"
    field = schema.field(name)
    shape = (field.metadata or {}).get(b"shape", b"").decode()
    null = "" if field.nullable else " without nulls"
    return f"{field.type} of shape ({shape}){null}" if shape else f"{field.type}{null}"
