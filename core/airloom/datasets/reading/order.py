"""The order of rows in each epoch: a seeded permutation of all of them, whatever the number of ranks."""

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

Positions = NDArray[np.int64]

# Above this many rows a permutation of all of them takes seconds and hundreds of megabytes.
TWO_LEVELS_ABOVE = 20_000_000
# Rows that stay near each other in a shuffle of two levels: a few shards of small rows, a part of one of tiny rows.
BLOCK = 65_536
# Blocks that are permuted together: 4 million rows, 32 MB.
WINDOW = 64


class Order:
    """Which row comes when. The order depends on the seed, the epoch and the number of rows alone, not on shards.

    Up to `two_levels_above` rows an epoch is one permutation. Above, it has two levels: blocks of neighbouring rows
    come in a random order, and the rows of each window of blocks are permuted. So memory stays at one window, and
    reading stays within the shards of one window at a time.

    Args:
        rows: how many there are.
        shuffle: False: rows in their order.
        two_levels_above: rows up to which one permutation is made.
        block: rows of a block.
        window: blocks of a window.

    Attributes:
        rows, shuffle: as given.
        name: of what the order depends on besides the seed, for a cursor.
    """

    name = ""

    def __init__(
        self,
        rows: int,
        shuffle: bool = True,
        two_levels_above: int = TWO_LEVELS_ABOVE,
        block: int = BLOCK,
        window: int = WINDOW,
    ) -> None:
        self.rows = rows
        self.shuffle, self._two_levels = shuffle, rows > two_levels_above
        self._block, self._window = block, window
        self._kept: dict[str, tuple[Any, Any]] = {}  # the newest permutation of each kind

    def positions(self, seed: int, epoch: int, start: int, stop: int) -> Positions:
        """Positions of the rows that come as number `start` to `stop` - 1 in an epoch.

        Args:
            seed: of the order.
            epoch: from 0.
            start: number of the first row.
            stop: number behind the last row.
        """
        start, stop = min(start, self.rows), min(stop, self.rows)
        if not self.shuffle:
            return np.arange(start, stop, dtype=np.int64)
        if self._two_levels:
            return self._windowed(seed, epoch, start, stop)
        whole: Positions = self._keep("whole", (seed, epoch), lambda: _random(seed, epoch).permutation(self.rows))
        return whole[start:stop]

    def _windowed(self, seed: int, epoch: int, start: int, stop: int) -> Positions:
        blocks, ends = self._keep("blocks", (seed, epoch), lambda: self._blocks(seed, epoch))
        parts = [np.empty(0, np.int64)]
        while start < stop:
            window = int(ends.searchsorted(start, "right"))
            chosen = blocks[window * self._window : (window + 1) * self._window]
            within = self._keep("window", (seed, epoch, window), partial(self._permuted, seed, epoch, window, chosen))
            first = int(ends[window]) - len(within)
            parts.append(within[start - first : stop - first])
            start = int(ends[window])
        return np.concatenate(parts)

    def _blocks(self, seed: int, epoch: int) -> tuple[Positions, Positions]:
        """The blocks in their order in this epoch, and where each window of them ends."""
        blocks = _random(seed, epoch, 0).permutation(-(-self.rows // self._block))
        ends = np.cumsum(np.minimum(self._block, self.rows - blocks * self._block))
        last = np.minimum(np.arange(self._window, len(blocks) + self._window, self._window), len(blocks)) - 1
        return blocks, ends[last]

    def _permuted(self, seed: int, epoch: int, window: int, blocks: Positions) -> Positions:
        starts = (blocks * self._block).tolist()
        parts = [np.arange(start, min(start + self._block, self.rows), dtype=np.int64) for start in starts]
        positions = np.concatenate(parts)
        _random(seed, epoch, 1 + window).shuffle(positions)
        return positions

    def _keep(self, kind: str, key: tuple[int, ...], make: Callable[[], Any]) -> Any:
        cached = self._kept.pop(kind, None)
        if cached is None or cached[0] != key:
            cached = None  # before the next is made: never two in memory
            cached = (key, make())
        self._kept[kind] = cached
        return cached[1]


def rank_slice(batch: Positions, rank: int, world_size: int) -> Positions:
    """A rank's part of a global batch; parts differ by one row at most, and together they are the batch."""
    return batch[len(batch) * rank // world_size : len(batch) * (rank + 1) // world_size]


def _random(*words: int) -> np.random.Generator:
    # PCG64 by name: which generator default_rng means may change with numpy.
    return np.random.Generator(np.random.PCG64(words))
