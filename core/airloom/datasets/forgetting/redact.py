"""Write what is left of shards, indices and manifests without some rows. Nothing refers to it yet."""

import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import pyarrow as pa

from airloom.datasets.forgetting.search import Found, Pair, open_whole
from airloom.datasets.operations import NONE, statistics_of
from airloom.datasets.storage import outputs
from airloom.datasets.storage.chain import Chain
from airloom.datasets.storage.index import SHORT, Index
from airloom.datasets.storage.manifest import Shard, VersionManifest
from airloom.datasets.storage.rows import VersionRows
from airloom.datasets.storage.shards import put
from airloom.datasets.storage.store import Store
from airloom.errors import DataError

Array = np.ndarray[Any, Any]
KEPT = slice(SHORT // 2 - 2, SHORT // 2)  # of an anchor: the bytes that decide to which share of a split it belongs


@dataclass(frozen=True)
class LeftShard:
    """What is left of a shard: its new files, and which of its old rows are in them, bool (rows,)."""

    shard: Shard
    kept: Array


@dataclass
class Redacted:
    """What a rewritten history will name.

    Attributes:
        files: of each manifest that changes, by its blob: what stands in git in its place and beside it.
        ids: of each version whose live rows change, the id of what is left.
        sizes: the new objects, bytes by name.
        old: objects that the changed manifests named.
    """

    files: dict[str, dict[str, bytes]] = field(default_factory=dict)
    ids: dict[int, str] = field(default_factory=dict)
    sizes: dict[str, int] = field(default_factory=dict)
    old: set[str] = field(default_factory=set)


class Redactor:
    """Leaves rows out. One is used for all tries, so that a shard is written once.

    Args:
        store: of this home.
    """

    def __init__(self, store: Store) -> None:
        self._store = store
        self._left: dict[Pair, LeftShard | None] = {}  # None: nothing is left
        self._statistics: dict[tuple[str, str], dict[str, Any]] = {}
        self._blurred: dict[bytes, bytes] = {}

    def redact(self, found: Found) -> Redacted:
        """Write all that changes, into the cache alone."""
        redacted, rows = Redacted(), VersionRows(self._store, next(iter(found.manifests.values())))
        for blob, manifest in found.manifests.items():
            left = self._manifest(found, manifest, rows)
            if left is None:
                continue
            files = outputs.dvc_files(self._store, left)
            redacted.files[blob] = files
            if manifest.number in found.live:
                redacted.ids[manifest.number] = self._id(left, rows)
            redacted.old |= {name for shard in manifest.shards for name in (shard.md5, shard.index)}
            self._note_new(redacted, manifest, left, files)
        return redacted

    def _note_new(
        self, redacted: Redacted, before: VersionManifest, left: VersionManifest, files: Mapping[str, bytes]
    ) -> None:
        was = {name for shard in before.shards for name in (shard.md5, shard.index)}
        for shard in left.shards:
            sizes = {shard.md5: shard.bytes, shard.index: shard.index_bytes}
            redacted.sizes |= {name: size for name, size in sizes.items() if name not in was}
        for listing in outputs.listings(files):
            redacted.sizes[listing] = self._store.path(listing).stat().st_size

    def _manifest(self, found: Found, manifest: VersionManifest, rows: VersionRows) -> VersionManifest | None:
        """The manifest of what is left; None where nothing changes."""
        shards, changed = list[Shard](), False
        for shard in manifest.shards:
            pair = (shard.md5, shard.index)
            if pair in found.lost:  # nobody can read it any more; what its statistics say of the rows must go too
                changed |= bool(shard.statistics)
                shards.append(replace(shard, statistics={}))
                continue
            left = self._shard(found, shard)
            changed |= left is None or left.shard is not shard
            shards += [] if left is None else [self._described(manifest, shard, left)]
        if not changed:
            return None
        if manifest.number not in found.live:
            return replace(manifest, shards=shards)
        try:
            live = Index.concat([rows.live(shard) for shard in shards])
        except DataError:  # of a deleted version, whose indices are gone
            return replace(manifest, shards=shards, chain=Chain())
        return replace(manifest, shards=shards, chain=Chain().extend(NONE, live.row)[0])

    def _id(self, manifest: VersionManifest, rows: VersionRows) -> str:
        try:
            tail = Index.concat([rows.live(shard) for shard in manifest.shards]).row
        except DataError:
            tail = NONE
        return manifest.chain.id(manifest.arrow_schema, tail[len(tail) - manifest.chain.tail :])

    def _shard(self, found: Found, shard: Shard) -> LeftShard | None:
        pair = (shard.md5, shard.index)
        if pair not in self._left:
            self._left[pair] = self._write(found, shard)
        left = self._left[pair]
        if left is None or (left.kept.all() and left.shard.index == shard.index):
            return left and LeftShard(shard, left.kept)
        return left

    def _write(self, found: Found, shard: Shard) -> LeftShard | None:
        path = self._store.get(shard.index, shard.index_bytes)
        index, kept = Index.open(path), np.ones(shard.rows, np.bool_)
        places = found.places.get((shard.md5, shard.index))
        if places is not None:
            kept[places] = False
        if not kept.any():
            return None
        anchors = self._blur(found, index)
        if anchors is None and kept.all():
            return LeftShard(shard, kept)
        moved = index if anchors is None else Index(index.row, anchors, index.input)
        left = moved.take(kept) if not kept.all() else moved
        if kept.all():
            data = left.to_bytes()
            md5, size = self._store.write(lambda sink: sink.write(data))
            return LeftShard(replace(shard, index=md5, index_bytes=size, anchored=left.anchored), kept)
        table = open_whole(self._store, shard).filter(pa.array(kept)).combine_chunks()
        return LeftShard(put(self._store, table.to_batches(), left, lambda _: {}), kept)

    def _blur(self, found: Found, index: Index) -> Array | None:
        """Anchors without those of forgotten keys; None where there are none.

        A row that stands in the place of another in the split has that one's anchor, a digest of its key. All but the
        first 16 bits, which keep the row in its split, become random: the same ones wherever that anchor stands.
        """
        low = np.ascontiguousarray(index.anchor[:, :8]).view("<u8").reshape(-1)
        first = np.array([int.from_bytes(anchor[:8], "little") for anchor in found.anchors], np.uint64)
        places = np.flatnonzero(np.isin(low, first))
        if not len(places):
            return None
        anchors = index.anchor.copy()
        for place in places.tolist():
            old = index.anchor[place].tobytes()
            if old in found.anchors:
                if old not in self._blurred:
                    new = bytearray(secrets.token_bytes(SHORT))
                    new[KEPT] = old[KEPT]
                    self._blurred[old] = bytes(new)
                anchors[place] = np.frombuffer(self._blurred[old], np.uint8)
        return anchors

    def _described(self, manifest: VersionManifest, shard: Shard, left: LeftShard) -> Shard:
        """What is left of a shard as a manifest has it: its tombstones, spans and statistics."""
        if left.shard is shard:
            return shard
        spans, start = [], 0
        for span in shard.spans:
            count = int(left.kept[start : start + span.rows].sum())
            start += span.rows
            spans += [span._replace(rows=count)] if count else []
        described = replace(left.shard, spans=spans, dead="", dead_rows=0, statistics=shard.statistics)
        buried = np.flatnonzero(shard.tombstones[left.kept])
        described = described.bury(buried) if len(buried) else described
        if left.kept.all():
            return described
        known = (described.md5, described.dead)
        if known not in self._statistics:
            self._statistics[known] = statistics_of(self._store, manifest.layout, described)
        return replace(described, statistics=self._statistics[known])
