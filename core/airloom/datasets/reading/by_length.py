"""Batches of rows of like length: less is filled up, and the order is still a seeded permutation with a cursor."""

from collections.abc import Callable
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from airloom.datasets.reading.order import Order, Positions

BATCHES = 64  # of a window, within which rows are brought together by length


class ByLength:
    """Another order, its rows brought together by length within windows of some batches.

    In each window the rows that the other order puts there are sorted by length and cut into batches, which come in a
    random order. So over an epoch each row comes once, and long and short batches are mixed. The rows beyond the last
    whole batch are left as the other order has them, whatever their length: they end the epoch, or are dropped.

    Args:
        order: of the rows.
        batch_size: rows of a batch; the order depends on it.
        lengths: makes the length of each row (n,); called when the first batch is asked for.

    Attributes:
        rows: how many there are.
        name: of what the order depends on besides the seed, for a cursor.
    """

    def __init__(self, order: Order, batch_size: int, lengths: Callable[[], NDArray[np.int64]]) -> None:
        self.rows, self.name = order.rows, f"by_length/{batch_size}"
        self._order, self._batch_size, self._lengths_of = order, batch_size, lengths
        self._window = BATCHES * batch_size
        self._whole = self.rows - self.rows % batch_size
        self._kept: tuple[tuple[int, int, int], Positions] | None = None  # the newest window

    def positions(self, seed: int, epoch: int, start: int, stop: int) -> Positions:
        """As `Order.positions`."""
        stop, parts = min(stop, self.rows), [np.empty(0, np.int64)]
        while start < min(stop, self._whole):
            window = start // self._window
            first = window * self._window
            end = min(stop, first + self._window, self._whole)
            parts.append(self._within(seed, epoch, window)[start - first : end - first])
            start = end
        if start < stop:
            parts.append(self._order.positions(seed, epoch, start, stop))
        return np.concatenate(parts)

    def _within(self, seed: int, epoch: int, window: int) -> Positions:
        key = (seed, epoch, window)
        if self._kept is None or self._kept[0] != key:
            first = window * self._window
            rows = self._order.positions(seed, epoch, first, min(first + self._window, self._whole))
            batches = rows[self._lengths.take(rows).argsort(kind="stable")].reshape(-1, self._batch_size)
            if self._order.shuffle:
                batches = np.random.Generator(np.random.PCG64((seed, epoch, window, 1))).permutation(batches)
            self._kept = key, batches.reshape(-1)
        return self._kept[1]

    @cached_property
    def _lengths(self) -> NDArray[np.int64]:
        return self._lengths_of()
