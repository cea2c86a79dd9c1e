"""What a commit does to the newest version: append, replace, change rows, compact.

An operation is applied to whatever version is the newest when it is pushed. A writer that loses a race applies it again
on the winner's version, with the checks that look across rows, and sends no data twice.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from airloom.datasets.storage.chain import Chain
from airloom.datasets.storage.index import Index
from airloom.datasets.storage.manifest import Shard, Span, VersionManifest
from airloom.datasets.storage.rows import VersionRows
from airloom.datasets.storage.shards import shard_table
from airloom.datasets.storage.statistics import summarise
from airloom.datasets.storage.store import Store
from airloom.datasets.types import get_type
from airloom.errors import DataError, NothingChanged

Array = np.ndarray[Any, Any]
NONE = np.empty((0, 32), np.uint8)


@dataclass(frozen=True)
class NextVersion:
    """The shards of the next version and the chain over its live rows."""

    shards: list[Shard]
    chain: Chain
    tail: Array
    changed: dict[str, int]  # rows added, deleted


class Operation(Protocol):
    """One kind of commit."""

    def apply(self, store: Store, head: VersionManifest | None, number: int, tags: list[str]) -> NextVersion:
        """The next version.

        Args:
            store: of this home.
            head: the newest version; None before the first.
            number: of the next version.
            tags: of the commit.

        Raises:
            DataError: `head` does not allow it.
            NothingChanged: the next version would have the same rows as `head`.
        """


@dataclass(frozen=True)
class Append:
    """Add the rows of new shards behind the others."""

    shards: Sequence[Shard]

    def apply(self, store: Store, head: VersionManifest | None, number: int, tags: list[str]) -> NextVersion:
        """See `Operation`."""
        new = [brought(shard, number, tags) for shard in self.shards]
        index = indices(store, new)
        old, chain = (list(head.shards), head.chain) if head else ([], Chain())
        before = VersionRows(store, head) if head else None
        if head and before:
            if np.array_equal(before.tail(len(index)), index.row):
                raise NothingChanged(f"{head.name} ends with exactly these rows", "nothing was committed")
            if index.anchored or any(shard.anchored for shard in old):
                check_leak(head.name, before.all(), index)
        chain, tail = chain.extend(before.tail(chain.tail) if before else NONE, index.row)
        return NextVersion([*old, *new], chain, tail, {"added": len(index), "deleted": 0})


@dataclass(frozen=True)
class Replace:
    """Put new rows in the place of all others; shards that stay the same keep their files."""

    shards: Sequence[Shard]

    def apply(self, store: Store, head: VersionManifest | None, number: int, tags: list[str]) -> NextVersion:
        """See `Operation`."""
        new = [brought(shard, number, tags) for shard in self.shards]
        index = indices(store, new)
        if index.anchored:
            check_leak("the batch", index, index)
        chain, tail = Chain().extend(NONE, index.row)
        if head:
            _check_changed(VersionRows(store, head), chain, tail)
        return NextVersion(new, chain, tail, {"added": len(index), "deleted": head.rows if head else 0})


@dataclass(frozen=True)
class Target:
    """A row that someone saw in a version and wants changed."""

    digest: bytes
    shard: str  # where it stood
    place: int
    name: str  # "row 17 of digits@v3"


@dataclass(frozen=True)
class Edit:
    """Delete rows, or put others in their place: tombstones, and a small shard at the end for the new rows.

    `substitutes` hold one row a target, in the targets' order; each takes over its target's place in the split.
    """

    targets: Sequence[Target]
    substitutes: Sequence[Shard] = ()

    def apply(self, store: Store, head: VersionManifest | None, number: int, tags: list[str]) -> NextVersion:
        """See `Operation`."""
        if head is None:
            raise DataError("there is no version whose rows could be changed", "commit rows first")
        rows = VersionRows(store, head)
        rows.load()
        spots = _locate(rows, self.targets)
        shards = list(head.shards)
        for at in sorted({shard for shard, _ in spots}):
            left = shards[at].bury(np.array([place for shard, place in spots if shard == at]))
            shards[at] = replace(left, statistics=statistics_of(store, head, left))
        start = 0
        for shard in self.substitutes:
            taken = spots[start : start + shard.rows]
            start += shard.rows
            anchors = np.stack([rows.index(head.shards[at]).anchor[place] for at, place in taken])
            shards.append(brought(_anchored(store, shard, anchors), number, tags))
        after = VersionRows(store, replace(head, shards=[shard for shard in shards if shard.live]))
        everything = after.all()
        if any(shard.anchored for shard in shards):
            check_leak(head.name, everything, everything)
        chain, tail = Chain().extend(NONE, everything.row)
        if not len(everything):
            raise DataError(f"nothing of {head.name} would be left", "delete the dataset instead")
        _check_changed(rows, chain, tail)
        return NextVersion(after.manifest.shards, chain, tail, {"added": start, "deleted": len(spots)})


def _check_changed(before: VersionRows, chain: Chain, tail: Array) -> None:
    """The rows of the chain, in their order, are not those of the version before."""
    if before.manifest.chain == chain and np.array_equal(before.tail(chain.tail), tail):
        raise NothingChanged(f"{before.manifest.name} has exactly these rows", "nothing was committed")


def statistics_of(store: Store, head: VersionManifest, shard: Shard) -> dict[str, Any]:
    """The statistics of a shard's live rows, from its data."""
    if not shard.live:
        return {}
    table = shard_table(store, shard)
    return summarise(get_type(head.layout.type).profile(table, head.layout))


def brought(shard: Shard, number: int, tags: list[str]) -> Shard:
    """The shard as something that version `number` brought."""
    return replace(shard, spans=[Span(shard.rows, number, tags)])


def indices(store: Store, shards: Sequence[Shard]) -> Index:
    """The indices of freshly written shards."""
    return Index.concat([Index.open(store.path(shard.index)) for shard in shards])


def check_leak(name: str, old: Index, new: Index) -> None:
    """The same inputs must stand in one place of the split.

    Raises:
        DataError: naming rows whose inputs are equal while their key or inherited place differs.
    """
    inputs, fresh = _column(old.input), _column(new.input)
    shared = np.flatnonzero(np.asarray(pc.is_in(inputs, value_set=fresh)))
    places = {inputs[row].as_py(): (old.anchor[row].tobytes(), row) for row in reversed(shared.tolist())}
    for row, (key, anchor) in enumerate(zip(fresh.to_pylist(), new.anchor, strict=True)):
        there, first = places.setdefault(key, (anchor.tobytes(), row))
        if there != anchor.tobytes():
            message = f"row {row} of the batch has the inputs of row {first} of {name}, but another key or origin"
            raise DataError(f"{message}: the same example could stand in two splits", "leave one of them out")


def _column(values: Array) -> pa.Array:
    data = pa.py_buffer(np.ascontiguousarray(values))
    return pa.FixedSizeBinaryArray.from_buffers(pa.binary(values.shape[1]), len(values), [None, data])


def _locate(rows: VersionRows, targets: Sequence[Target]) -> list[tuple[int, int]]:
    """Where the targets stand now, as (shard, place); each place once.

    Raises:
        DataError: naming the rows that were changed or deleted since they were seen.
    """
    wanted = {target.digest for target in targets}
    alive: dict[bytes, list[tuple[int, int]]] = {digest: [] for digest in wanted}
    first = np.array(sorted({int.from_bytes(digest[:8], "little") for digest in wanted}), np.uint64)
    for at, shard in enumerate(rows.manifest.shards):
        index, dead = rows.index(shard), shard.tombstones
        low = np.ascontiguousarray(index.row[:, :8]).view("<u8").reshape(-1)
        for place in np.flatnonzero(np.isin(low, first) & ~dead).tolist():
            alive.get(index.row[place].tobytes(), []).append((at, place))
    md5 = [shard.md5 for shard in rows.manifest.shards]
    spots, gone = [], []
    for target in targets:
        places = alive[target.digest]
        exact = [spot for spot in places if md5[spot[0]] == target.shard and spot[1] == target.place]
        if places:
            spot = (exact or places)[0]
            places.remove(spot)
            spots.append(spot)
        else:
            gone.append(target.name)
    if gone:
        more = f" and {len(gone) - 5} more" if len(gone) > 5 else ""
        message = f"{', '.join(gone[:5])}{more}: changed or deleted meanwhile, {rows.manifest.name} does not have it"
        raise DataError(message, "look at the newest version and say again what to change")
    return spots


def _anchored(store: Store, shard: Shard, anchors: Array) -> Shard:
    """The shard with an index whose rows stand where `anchors` say."""
    index = Index.open(store.path(shard.index))
    moved = Index(index.row, np.ascontiguousarray(anchors), index.input)
    data = moved.to_bytes()
    md5, size = store.write(lambda sink: sink.write(data))
    return replace(shard, index=md5, index_bytes=size, anchored=moved.anchored)
