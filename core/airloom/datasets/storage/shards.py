"""Cut a stream of rows into immutable shards, hashed while they are written."""

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pyarrow as pa

from airloom.datasets.storage.digests import digest
from airloom.datasets.storage.index import Index
from airloom.datasets.storage.manifest import Shard
from airloom.datasets.storage.schema import Layout
from airloom.datasets.storage.shard_file import write_shard
from airloom.datasets.storage.store import Store, md5_of
from airloom.errors import CorruptFile

SMALLEST, LARGEST = 16 * 2**20, 64 * 2**20  # bytes of a shard; only the last one of a commit may be smaller
MEAN_TAIL = 16 * 2**20  # bytes that a shard has on average beyond the smallest
Array = np.ndarray[Any, Any]
Describe = Callable[[pa.Table], dict[str, Any]]


def cut_bits(row_bytes: float) -> int:
    """How many low bits of a row's digest must be 0 for the row to end a shard, so that shards get their mean size."""
    return max(0, round(math.log2(MEAN_TAIL / max(row_bytes, 1))))


def cuts(sizes: Array, marked: Array, filled: int) -> list[int]:
    """Where to cut: after how many of these rows.

    A cut depends on the rows of its own shard alone, so that a changed, inserted or deleted row leaves the cuts
    further on where they were (content-defined chunking: Muthitacharoen et al. 2001).

    Args:
        sizes: bytes of each row, int64 (n,).
        marked: whether a row may end a shard, bool (n,).
        filled: bytes that the open shard holds already.
    """
    ends, marks = filled + np.cumsum(sizes), np.flatnonzero(marked)
    stops: list[int] = []
    base = 0
    while True:
        low, high = (int(np.searchsorted(ends, base + bound)) for bound in (SMALLEST, LARGEST))
        at = int(np.searchsorted(marks, low))
        cut = min(int(marks[at]) if at < len(marks) else len(ends), high)
        if cut >= len(ends):
            return stops
        stops.append(cut + 1)
        base = int(ends[cut])


@dataclass
class ShardWriter:
    """Turns batches into shards in the store. Nothing is visible until a manifest names them.

    `describe` makes the statistics of a shard's rows. `bits` is chosen by the first batch where it is None.
    """

    store: Store
    schema: pa.Schema
    layout: Layout
    describe: Describe
    bits: int | None = None
    _open: list[tuple[pa.RecordBatch, Index]] = field(default_factory=list)
    _filled: int = 0

    def write(self, batches: Iterable[pa.RecordBatch]) -> Iterator[Shard]:
        """The shards, each as soon as it is written."""
        return self.write_indexed((batch, Index.of(digest(batch, self.layout))) for batch in batches if batch.num_rows)

    def write_indexed(self, pieces: Iterable[tuple[pa.RecordBatch, Index]]) -> Iterator[Shard]:
        """The same of rows that were hashed before."""
        for batch, index in pieces:
            yield from self._add(batch, index)
        if self._open:
            yield self._close()

    def _add(self, batch: pa.RecordBatch, index: Index) -> Iterator[Shard]:
        sizes = row_bytes(batch)
        if self.bits is None:
            self.bits = cut_bits(float(sizes.mean()))
        low = np.ascontiguousarray(index.row[:, :8]).view("<u8").reshape(-1)
        marked = (low & np.uint64((1 << self.bits) - 1)) == 0
        start = 0
        for stop in cuts(sizes, marked, self._filled):
            self._open.append((batch.slice(start, stop - start), index.take(slice(start, stop))))
            yield self._close()
            start = stop
        if start < batch.num_rows:
            self._open.append((batch.slice(start), index.take(slice(start, None))))
            self._filled += int(sizes[start:].sum())

    def _close(self) -> Shard:
        batches, indices = zip(*self._open, strict=True)
        self._open, self._filled = [], 0
        return put(self.store, batches, Index.concat(indices), self.describe)


def put(store: Store, batches: Sequence[pa.RecordBatch], index: Index, describe: Describe) -> Shard:
    """Write one shard and its index.

    Args:
        store: where to.
        batches: its rows.
        index: of the same rows.
        describe: makes their statistics.
    """
    md5, size = store.write(lambda sink: write_shard(sink, batches))
    data = index.to_bytes()
    index_md5, index_size = store.write(lambda sink: sink.write(data))
    statistics = describe(pa.Table.from_batches(batches))
    return Shard(md5, len(index), size, index_md5, index_size, statistics, index.anchored)


def row_bytes(batch: pa.RecordBatch) -> Array:
    """Bytes of each row, int64 (n,): exact for fixed-width, text and binary columns, the mean for anything nested."""
    total = np.zeros(batch.num_rows, np.int64)
    for column in batch.columns:
        kind = column.type
        if pa.types.is_large_string(kind) or pa.types.is_large_binary(kind):
            offsets = np.frombuffer(column.buffers()[1], np.int64)[column.offset : column.offset + len(column) + 1]
            total += np.diff(offsets) + 8
        else:
            total += max(1, column.nbytes // max(1, len(column)))
    return total


def shard_table(store: Store, shard: Shard) -> pa.Table:
    """The live rows of one shard, mapped into memory after its digest was checked.

    Raises:
        CorruptFile: it is damaged here and in the remote.
    """
    path = store.get(shard.md5, shard.bytes)
    if md5_of(path) != shard.md5:
        store.repair([shard.md5])
    table = pa.ipc.open_file(pa.memory_map(str(path))).read_all()
    if table.num_rows != shard.rows:
        raise CorruptFile(f"{path} has {table.num_rows} rows, the manifest says {shard.rows}", "restore the manifest")
    return table.filter(pa.array(~shard.tombstones)) if shard.dead else table
