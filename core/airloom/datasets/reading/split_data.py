"""A split as a map-style dataset of torch, for a stock DataLoader; `Loader` reads the same rows faster."""

from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from airloom.datasets.reading.buffers import Buffers
from airloom.datasets.reading.form import PLAIN, Form
from airloom.datasets.reading.gather import Gathered, gather
from airloom.datasets.reading.mapped import Mapped
from airloom.datasets.reading.verify import verify_once
from airloom.datasets.storage.schema import Layout
from airloom.errors import DataError

Collate: TypeAlias = Callable[[Gathered, pa.Schema, Layout], tuple[Any, Any]]


class SplitData:
    """Some rows of a snapshot.

    A sample is `(input, label)`, or the input alone where the layout has no label. It can be pickled and forked:
    worker processes map the shards themselves.

    Args:
        mapped: the shards.
        rows: physical numbers of the rows, int64 (n,), strictly ascending.
        layout: which columns are inputs, label and key; the key is not read.
        collate: makes (inputs, labels) from gathered columns; the default is the dataset type's `to_tensors`.
        schema: what `collate` is told of the columns; the default is the shards'.

    Raises:
        DataError: `rows` are not ascending numbers of rows in the shards, or a column is missing.
    """

    def __init__(
        self,
        mapped: Mapped,
        rows: NDArray[np.int64],
        layout: Layout,
        collate: "Collate | None" = None,
        schema: pa.Schema | None = None,
    ) -> None:
        rows = np.asarray(rows, np.int64)
        if rows.ndim != 1 or (len(rows) and (rows[0] < 0 or rows[-1] >= mapped.rows or np.any(rows[1:] <= rows[:-1]))):
            message = f"the selection is no ascending list of numbers below {mapped.rows}, the rows of the shards"
            raise DataError(message, "fetch the snapshot again")
        self.mapped, self.rows, self.layout = mapped, rows, layout
        self.names = [*layout.inputs(mapped.schema), *([layout.label] if layout.label else [])]
        missing = [name for name in self.names if name not in mapped.schema.names]
        if missing:
            raise DataError(f"no column {missing[0]!r}", f"the columns are {', '.join(mapped.schema.names)}")
        self._is_given = collate is not None
        self._collate, self._schema = collate, mapped.schema if schema is None else schema

    def __len__(self) -> int:
        return len(self.rows)

    def columns(self, positions: Sequence[int] | NDArray[np.int64], views: bool = False) -> Gathered:
        """Inputs and label of some rows, as `gather` returns them, in the order of `positions`.

        Raises:
            IndexError: a position is not in the split.
            CorruptFile: a shard is damaged.
        """
        wanted = np.asarray(positions, np.int64)
        if len(wanted) and not -len(self) <= wanted.min() <= wanted.max() < len(self):
            raise IndexError(f"positions {wanted.min()} to {wanted.max()} of a split with {len(self)} rows")
        rows = self.rows[wanted]
        verify_once(self.mapped, rows)
        order = rows.argsort(kind="stable")
        gathered = gather(self.mapped, rows[order], self.names, Buffers(), views)
        if np.all(order[1:] > order[:-1]):
            return gathered
        back = order.argsort()
        return {name: _reordered(column, back) for name, column in gathered.items()}

    def batch(self, positions: NDArray[np.int64], buffers: Buffers, views: bool, form: Form = PLAIN) -> tuple[Any, Any]:
        """Inputs and labels of some rows, sorted: the order in which they are gathered fastest."""
        rows = self.rows.take(positions)
        rows.sort()
        return self.collate(gather(self.mapped, rows, self.names, buffers, views, form))

    def collate(self, columns: Gathered) -> tuple[Any, Any]:
        """Inputs and labels as the dataset type wants them."""
        return self.ready()(columns, self._schema, self.layout)

    def arrays(self, columns: Gathered) -> Any:
        """The inputs as the dataset type wants them, as arrays: torch, which takes seconds to import, is not needed."""
        if not self._is_given:
            from airloom.datasets.types import get_type

            to_arrays = getattr(get_type(self.layout.type), "to_arrays", None)
            if to_arrays is not None:
                return to_arrays(columns, self._schema, self.layout)
        return _plain(self.collate(columns)[0])

    def ready(self) -> Collate:
        """What `collate` calls; asked for before a fork, so that no thread holds the lock of an import then."""
        if self._collate is None:
            from airloom.datasets.types import get_type

            self._collate = get_type(self.layout.type).to_tensors
        return self._collate

    def __getitem__(self, position: int) -> Any:
        return self.__getitems__([position])[0]

    def __getitems__(self, positions: Sequence[int]) -> list[Any]:
        inputs, labels = self.collate(self.columns(positions))
        samples = _samples(inputs, len(positions))
        return samples if labels is None else list(zip(samples, _samples(labels, len(positions)), strict=True))


def _plain(inputs: Any) -> Any:
    """Tensors as arrays."""
    if isinstance(inputs, dict):
        return {name: _plain(cells) for name, cells in inputs.items()}
    return inputs.numpy() if hasattr(inputs, "numpy") else inputs


def _reordered(column: "NDArray[Any] | list[Any]", order: NDArray[np.int64]) -> "NDArray[Any] | list[Any]":
    return [column[place] for place in order.tolist()] if isinstance(column, list) else column[order]


def _samples(batch: Any, count: int) -> list[Any]:
    """A batch cut into its rows: tensors, arrays and lists along the first axis, dicts and tuples part by part."""
    if isinstance(batch, dict):
        parts = [_samples(part, count) for part in batch.values()]
        return [dict(zip(batch, row, strict=True)) for row in zip(*parts, strict=True)]
    if isinstance(batch, tuple):
        return list(zip(*(_samples(part, count) for part in batch), strict=True))
    return list(batch.unbind()) if hasattr(batch, "unbind") else [batch[place] for place in range(count)]
