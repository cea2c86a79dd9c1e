"""The rows of a batch, brought together: one gather a column and shard."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import pairwise
from typing import Any, Generic, TypeAlias, TypeVar

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from airloom.datasets.reading.buffers import Buffers
from airloom.datasets.reading.columns import Fixed, Varied, floats, has_gaps, numbers
from airloom.datasets.reading.form import MASK, PLAIN, Form, floats_of, padded
from airloom.datasets.reading.joined import Narrow
from airloom.datasets.reading.mapped import Mapped, damaged

Values: TypeAlias = NDArray[Any] | list[Any]
Gathered: TypeAlias = dict[str, Values]
Data: TypeAlias = Mapping[int, memoryview] | Sequence[memoryview]  # by number of the shard
Spans: TypeAlias = Iterable[tuple[int, int, int]]  # shard, first byte, end


Value = TypeVar("Value")


class once(Generic[Value]):
    """As `functools.cached_property`, without the lock that this has until Python 3.12.

    It is one for all objects of a class: a fork may copy it while a thread holds it, and the worker process would wait
    for ever.
    """

    def __init__(self, make: Callable[[Any], Value]) -> None:
        self._make, self._name = make, make.__name__

    def __get__(self, owner: Any, _kind: Any = None) -> Value:
        value: Value = self._make(owner)
        owner.__dict__[self._name] = value
        return value


class BatchRows:
    """Rows of a batch.

    Args:
        bases: the first row of each shard, and the number of all rows.
        rows: physical numbers, ascending.
    """

    def __init__(self, bases: NDArray[np.int64], rows: NDArray[np.int64]) -> None:
        self.rows, self._bases = rows, bases

    def __len__(self) -> int:
        return len(self.rows)

    @once
    def runs(self) -> list[tuple[int, int, int]]:
        """For each touched shard: its number, where its rows begin and end in the batch."""
        if len(self._bases) <= len(self):  # quicker than to look for the shard of each row
            bounds = self.rows.searchsorted(self._bases).tolist()
            return [(shard, start, stop) for shard, (start, stop) in enumerate(pairwise(bounds)) if start < stop]
        if not len(self):
            return []
        shards = self.shards
        starts = [0, *(np.flatnonzero(shards[1:] != shards[:-1]) + 1).tolist()]
        return list(zip(shards.take(starts).tolist(), starts, [*starts[1:], len(self)], strict=True))

    @once
    def touched(self) -> list[int]:
        """The shards that rows are in, ascending."""
        return [shard for shard, _, _ in self.runs]

    @once
    def shards(self) -> NDArray[np.int64]:
        """The shard of each row."""
        return self._bases.searchsorted(self.rows, "right") - 1

    @once
    def local(self) -> NDArray[np.int64]:
        """The numbers of the rows within their shards."""
        return self.rows - self._bases.take(self.shards)


def gather(
    mapped: Mapped, rows: NDArray[np.int64], names: Sequence[str], buffers: Buffers, views: bool, form: Form = PLAIN
) -> Gathered:
    """Rows by their physical numbers.

    Args:
        mapped: the shards.
        rows: ascending; sorted indices make the gather read forward, which is twice as fast.
        names: the columns to gather.
        buffers: where the memory of fixed-width columns comes from.
        views: binary values as memoryviews into the mapping instead of copied bytes; wide ones are made once and
            given to all who ask for them, so nobody may release them.
        form: what else becomes of some columns.

    Returns:
        For each name: numbers as an array (rows, *shape), bool as an array, strings as list[str], binary as
        list[bytes] or list[memoryview], anything else, and columns with a null among these rows, as a list of Python
        objects with None for null. Numbers and bool of a field that `mark_gaps` marked are floats with NaN for null.

    Raises:
        CorruptFile: a shard is not what the manifest says.
    """
    batch = BatchRows(mapped.bases, rows)
    gathered: Gathered = {}
    for name in names:
        if name in form.pad:
            gathered[name], mask = padded(mapped, batch.runs, batch.local, name, form.pad[name])
            if name in form.masked:
                gathered[name + MASK] = mask
        elif form.seconds and form.as_floats(mapped.schema.field(name).type):
            gathered[name] = floats_of(_taken(mapped, batch, name))
        else:
            gathered[name] = _column(mapped, batch, name, buffers, views)
    return gathered


def _column(mapped: Mapped, batch: BatchRows, name: str, buffers: Buffers, views: bool) -> Values:
    narrow = mapped.joined.whole(name) or mapped.joined.get(name, batch.touched)
    if narrow is not None:
        return _narrow(mapped, batch, name, narrow, buffers, views)
    arrays = mapped.arrays(name)
    if arrays:
        return _wide(batch, arrays, name, buffers)
    columns: dict[int, Any] = {shard: mapped.column(shard, name) for shard in batch.touched}
    kinds = {type(column) for column in columns.values()}
    if kinds != {Fixed} and kinds != {Varied}:
        return _python(mapped, batch, name)
    narrow = mapped.joined.fill(name, columns)
    if narrow is not None:
        return _narrow(mapped, batch, name, narrow, buffers, views)
    if kinds == {Fixed}:
        return _wide(batch, {shard: column.values for shard, column in columns.items()}, name, buffers)
    return _spread(mapped, batch, name, columns, views)


def _narrow(mapped: Mapped, batch: BatchRows, name: str, narrow: Narrow, buffers: Buffers, views: bool) -> Values:
    if narrow.text is None:
        out = buffers.take(name, (len(batch),), narrow.array.dtype)
        narrow.array.take(batch.rows, 0, out, "clip")
        return out
    cached = narrow.views if views else None
    if cached is not None and (values := cached.get(batch.rows)) is not None:
        return values
    places = batch.rows + batch.shards
    starts, ends = narrow.array.take(places).tolist(), narrow.array[1:].take(places).tolist()
    spans = zip(batch.shards.tolist(), starts, ends, strict=True)
    if narrow.text:
        return _texts(mapped, name, narrow.data, spans)
    if cached is None:
        return _bytes(narrow.data, spans, views)
    return cached.keep(batch.rows, [narrow.data[shard][a:b] for shard, a, b in spans])


def _wide(batch: BatchRows, arrays: Mapping[int, NDArray[Any]], name: str, buffers: Buffers) -> NDArray[Any]:
    first, local = next(iter(arrays.values())), batch.local
    out = buffers.take(name, (len(batch), *first.shape[1:]), first.dtype)
    for shard, start, stop in batch.runs:
        # mode="clip", as the default would fill a second buffer first; the indices are in range by construction.
        arrays[shard].take(local[start:stop], 0, out[start:stop], "clip")
    return out


def _spread(mapped: Mapped, batch: BatchRows, name: str, columns: Mapping[int, Varied], views: bool) -> Values:
    """Strings or bytes whose offsets are not joined."""
    starts: list[int] = []
    ends: list[int] = []
    for shard, start, stop in batch.runs:
        local = batch.local[start:stop]
        starts += columns[shard].offsets.take(local).tolist()
        ends += columns[shard].offsets[1:].take(local).tolist()
    data = {shard: column.data for shard, column in columns.items()}
    spans = zip(batch.shards.tolist(), starts, ends, strict=True)
    return _texts(mapped, name, data, spans) if columns[batch.touched[0]].text else _bytes(data, spans, views)


def _bytes(data: Data, spans: Spans, views: bool) -> list[bytes] | list[memoryview]:
    return [data[shard][a:b] for shard, a, b in spans] if views else [bytes(data[shard][a:b]) for shard, a, b in spans]


def _texts(mapped: Mapped, name: str, data: Data, spans: Spans) -> list[str]:
    texts: list[str] = []
    shard = 0
    try:
        for shard, a, b in spans:
            texts.append(str(data[shard][a:b], "utf-8"))
    except UnicodeDecodeError as error:
        raise damaged(mapped.files[shard], f"column {name!r}: {error}") from None
    return texts


def _python(mapped: Mapped, batch: BatchRows, name: str) -> Values:
    field, joined = mapped.schema.field(name), _taken(mapped, batch, name)
    if has_gaps(field):
        return floats(joined, name)
    flags = pa.types.is_boolean(joined.type) and not joined.null_count
    values = numbers(joined.cast(pa.uint8()) if flags else joined, field)
    # A copy, as Arrow's memory is read-only and torch wants to write.
    return joined.to_pylist() if values is None else np.array(values, np.bool_ if flags else values.dtype)


def _taken(mapped: Mapped, batch: BatchRows, name: str) -> pa.Array:
    parts = [mapped.column(shard, name).array.take(pa.array(batch.local[a:b])) for shard, a, b in batch.runs]
    return pa.concat_arrays(parts or [pa.array([], mapped.schema.field(name).type)])
