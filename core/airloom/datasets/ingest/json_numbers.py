"""Numbers of JSON that Arrow would read as others."""

import json
import re
from collections.abc import Iterator
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

EXACT = 2.0**53  # up to here a float64 is every whole number
WIDE = re.compile(rb'(?<![\w".])[0-9]{19,20}(?![0-9.eE"])')


def unsigned(block: bytes) -> set[str]:
    """The fields with whole numbers that only uint64 holds."""
    fields = set[str]()
    if WIDE.search(block):
        for line in block.split(b"\n"):
            if WIDE.search(line):
                values = json.loads(line)
                fields |= {name for name, value in values.items() if isinstance(value, int) and 2**63 <= value < 2**64}
    return fields


def may_have_changed(table: pa.Table) -> bool:
    """Whether a float64 anywhere in the table is so large that it need not be the number that was written."""
    return any(
        pc.any(pc.greater_equal(pc.abs(numbers), EXACT)).as_py()
        for column in table.columns
        for chunk in column.chunks
        for numbers in _floats(chunk)
    )


def _floats(column: pa.Array) -> Iterator[pa.Array]:
    if pa.types.is_list(column.type) or pa.types.is_large_list(column.type):
        yield from _floats(pc.list_flatten(column))
    elif pa.types.is_struct(column.type):
        for part in column.flatten():
            yield from _floats(part)
    elif pa.types.is_floating(column.type):
        yield column


def first_changed(written: Any, stored: Any, name: str = "") -> tuple[str, int, float] | None:
    """The first whole number that is another one in what was stored: its name, what it was, what it became."""
    if isinstance(written, dict) and isinstance(stored, dict):
        pairs = [(f"{name}.{key}" if name else key, value, stored.get(key)) for key, value in written.items()]
    elif isinstance(written, list) and isinstance(stored, list):
        pairs = [(name, value, kept) for value, kept in zip(written, stored, strict=False)]
    else:
        changed = isinstance(written, int) and isinstance(stored, float) and written != stored
        return (name, written, stored) if changed else None
    return next((found for key, value, kept in pairs if (found := first_changed(value, kept, key))), None)
