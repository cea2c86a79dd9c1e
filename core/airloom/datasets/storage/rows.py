"""The rows of a version by their indices: which are alive, what they are, where they belong. No data is read."""

from collections.abc import Iterator
from functools import cached_property
from typing import Any

import numpy as np

from airloom.datasets.storage.chain import Chain
from airloom.datasets.storage.index import Index
from airloom.datasets.storage.manifest import Shard, Span, VersionManifest
from airloom.datasets.storage.store import Store, md5_of
from airloom.errors import CorruptFile

Array = np.ndarray[Any, Any]


class VersionRows:
    """Reads the indices of a manifest's shards, each when it is first asked for."""

    def __init__(self, store: Store, manifest: VersionManifest) -> None:
        self.manifest = manifest
        self._store = store
        self._open: dict[str, Index] = {}

    def index(self, shard: Shard) -> Index:
        """All rows of a shard, tombstones too.

        Raises:
            CorruptFile: the index file is damaged.
        """
        if shard.index not in self._open:
            path = self._store.get(shard.index, shard.index_bytes)
            if md5_of(path) != shard.index:
                self._store.repair([shard.index])
                if md5_of(path) != shard.index:
                    raise CorruptFile(f"the index {path} is damaged", "restore it from the DVC remote")
            self._open[shard.index] = Index.open(path)
        return self._open[shard.index]

    def load(self) -> None:
        """Fetch all indices at once: many small files are quicker in parallel."""
        self._store.fetch({shard.index: shard.index_bytes for shard in self.manifest.shards})

    def live(self, shard: Shard) -> Index:
        """The rows of a shard that were not deleted."""
        index = self.index(shard)
        return index.take(~shard.tombstones) if shard.dead else index

    def all(self) -> Index:
        """All live rows in their order."""
        self.load()
        return Index.concat([self.live(shard) for shard in self.manifest.shards])

    def tail(self, count: int) -> Array:
        """The digests of the last `count` live rows (fewer where there are fewer), uint8 (n, 32)."""
        parts: list[Array] = []
        missing = count
        for shard in reversed(self.manifest.shards):
            if missing <= 0:
                break
            rows = self.live(shard).row
            parts.insert(0, rows[-missing:])
            missing -= len(rows)
        return np.concatenate(parts) if parts else np.empty((0, 32), np.uint8)

    @cached_property
    def physical(self) -> Array:
        """Physical numbers of all live rows, int64, ascending."""
        parts, base = [np.empty(0, np.int64)], 0
        for shard in self.manifest.shards:
            parts.append(base + np.flatnonzero(~shard.tombstones))
            base += shard.rows
        return np.concatenate(parts)

    def spans(self) -> Iterator[Span]:
        """Which commit brought which live rows, in the rows' order."""
        for shard in self.manifest.shards:
            yield from shard.live_spans()


def content_id(store: Store, manifest: VersionManifest) -> str:
    """The id of the rows that are there now, computed anew from their digests."""
    rows = VersionRows(store, manifest).all().row
    chain, tail = Chain().extend(np.empty((0, 32), np.uint8), rows)
    return chain.id(manifest.arrow_schema, tail)
