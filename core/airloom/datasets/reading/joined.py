"""Narrow columns joined over all shards: where a row is a few bytes, one gather a batch beats one a shard."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from airloom.datasets.reading.columns import Fixed, Varied

# Copied at most, all columns together: 32 million numbers of 8 bytes, or the offsets of as many strings.
BUDGET = 256 << 20
VIEW = 200  # bytes of memory that a kept view takes, itself and its place
WIDE = 16 * VIEW  # bytes of a value, on average, from which its view is small beside it


class Views:
    """Views of byte strings by row, each made once: to make it costs as much as all else that a batch needs of it."""

    def __init__(self, rows: int) -> None:
        self._views = np.empty(rows, np.object_)
        self._made = np.zeros(rows, np.bool_)

    def get(self, rows: NDArray[np.int64]) -> "list[memoryview] | None":
        """Those of some rows; None where one was not made yet."""
        return self._views.take(rows).tolist() if self._made.take(rows).all() else None

    def keep(self, rows: NDArray[np.int64], views: Sequence[memoryview]) -> list[memoryview]:
        """Those of some rows, now kept; two threads may make the same at once, and either is good."""
        for row, view in zip(rows.tolist(), views, strict=True):
            if self._views[row] is None:
                self._views[row] = view
        self._made[rows] = True  # last, as it says that they are there
        those: list[memoryview] = self._views.take(rows).tolist()
        return those


@dataclass(frozen=True, slots=True)
class Narrow:
    """A joined column, filled for all shards but those in `left`.

    Numbers: row i of all shards stands at `array[i]`. Offsets: at i + the number of its shard, as a shard has one
    offset more than rows; `data` has the bytes of each shard.
    """

    array: NDArray[Any]
    text: bool | None  # strings, bytes, or numbers (None)
    data: list[memoryview]
    left: set[int]
    views: Views | None  # of wide bytes


class Joined:
    """Copies of the narrow columns: numbers, and the offsets of strings and bytes; filled when a shard is first read.

    Args:
        bases: the first row of each shard, and the number of all rows.
        budget: bytes that may be copied; columns beyond it are not joined.
    """

    def __init__(self, bases: NDArray[np.int64], budget: int = BUDGET) -> None:
        self._bases, self._left = bases, budget
        self._narrow: dict[str, Narrow | None] = {}

    def whole(self, name: str) -> Narrow | None:
        """The joined column if it is filled for all shards: soon it is, and then nobody needs to know which."""
        narrow = self._narrow.get(name)
        return narrow if narrow is not None and not narrow.left else None

    def get(self, name: str, shards: Sequence[int]) -> Narrow | None:
        """The joined column if it is filled for these shards."""
        narrow = self._narrow.get(name)
        return narrow if narrow is not None and narrow.left.isdisjoint(shards) else None

    def fill(self, name: str, columns: Mapping[int, Fixed | Varied]) -> Narrow | None:
        """The joined column, filled for more shards; None where a value is too wide or the budget is spent.

        Args:
            name: the column.
            columns: its views by number of the shard, at least one.
        """
        # No lock, which a fork could copy while it is held: filling twice is harmless, and setdefault is atomic.
        if name not in self._narrow:
            self._narrow.setdefault(name, self._room(next(iter(columns.values()))))
        narrow = self._narrow[name]
        if narrow is not None:
            for shard, column in columns.items():
                if isinstance(column, Fixed):
                    start, source, data = int(self._bases[shard]), column.values, memoryview(b"")
                else:
                    start, source, data = int(self._bases[shard]) + shard, column.offsets, column.data
                narrow.array[start : start + len(source)] = source
                narrow.data[shard] = data
                narrow.left.discard(shard)  # last, as it says that the shard is filled
        return narrow

    def _room(self, column: Fixed | Varied) -> Narrow | None:
        source = column.values if isinstance(column, Fixed) else column.offsets
        count, shards = int(self._bases[-1]) + len(self._bases), len(self._bases) - 1
        if source.ndim > 1 or count * source.itemsize > self._left:
            return None
        self._left -= count * source.itemsize
        text = None if isinstance(column, Fixed) else column.text
        # Memory that is never filled costs nothing.
        return Narrow(
            np.empty(count, source.dtype), text, [memoryview(b"")] * shards, set(range(shards)), self._views(column)
        )

    def _views(self, column: Fixed | Varied) -> Views | None:
        rows = int(self._bases[-1])
        wide = isinstance(column, Varied) and not column.text and len(column.data) > WIDE * (len(column.offsets) - 1)
        if not wide or rows * VIEW > self._left:
            return None
        self._left -= rows * VIEW
        return Views(rows)
