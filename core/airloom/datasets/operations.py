"""What a commit does to the newest version: append, replace, change rows, compact.

An operation is applied to whatever version is the newest when it is pushed. A writer that loses a race applies it again
on the winner's version, with the checks that look across rows, and sends no data twice.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol

import numpy as np

from airloom.datasets.equal_inputs import Policy, in_other_parts, part_of_rows, refuse, twins
from airloom.datasets.storage.chain import Chain
from airloom.datasets.storage.index import Index
from airloom.datasets.storage.manifest import Shard, Span, VersionManifest
from airloom.datasets.storage.rows import VersionRows
from airloom.datasets.storage.schema import Layout
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

    def apply(
        self, store: Store, head: VersionManifest | None, number: int, tags: list[str], policy: Policy
    ) -> NextVersion:
        """The next version.

        Args:
            store: of this home.
            head: the newest version; None before the first.
            number: of the next version.
            tags: of the commit.
            policy: what is done with inputs that are there already.

        Raises:
            DataError: `head` does not allow it.
            NothingChanged: the next version would have the same rows as `head`.
        """


@dataclass(frozen=True)
class NewRows:
    """Freshly written shards as a commit takes them."""

    shards: list[Shard]
    row: Array  # digests of their live rows
    changed: dict[str, int]


@dataclass(frozen=True)
class Append:
    """Add the rows of new shards behind the others; without those whose inputs are there already, if `drop` is set."""

    shards: Sequence[Shard]
    layout: Layout
    drop: bool = False

    def apply(
        self, store: Store, head: VersionManifest | None, number: int, tags: list[str], policy: Policy
    ) -> NextVersion:
        """See `Operation`."""
        index = indices(store, self.shards)
        before = VersionRows(store, head) if head else None
        if head and before and np.array_equal(before.tail(len(index)), index.row):
            raise NothingChanged(f"{head.name} ends with exactly these rows", "nothing was committed")
        new = _take(store, head, self, index, policy)
        old, chain = (list(head.shards), head.chain) if head else ([], Chain())
        chain, tail = chain.extend(before.tail(chain.tail) if before else NONE, new.row)
        shards = [*old, *(brought(shard, number, tags) for shard in new.shards)]
        return NextVersion(shards, chain, tail, {"added": len(new.row), "deleted": 0} | new.changed)


@dataclass(frozen=True)
class Replace:
    """Put new rows in the place of all others; shards that stay the same keep their files."""

    shards: Sequence[Shard]
    layout: Layout
    drop: bool = False

    def apply(
        self, store: Store, head: VersionManifest | None, number: int, tags: list[str], policy: Policy
    ) -> NextVersion:
        """See `Operation`."""
        new = _take(store, None, self, indices(store, self.shards), policy)
        chain, tail = Chain().extend(NONE, new.row)
        if head:
            _check_changed(VersionRows(store, head), chain, tail)
        changed = {"added": len(new.row), "deleted": head.rows if head else 0} | new.changed
        return NextVersion([brought(shard, number, tags) for shard in new.shards], chain, tail, changed)


def _take(store: Store, head: VersionManifest | None, rows: Append | Replace, index: Index, policy: Policy) -> NewRows:
    """The new rows, each at its place; refused or left out where their inputs are there already.

    Raises:
        DataError: a row's inputs are there already, and the dataset refuses that.
        NothingChanged: nothing is left.
    """
    published = bool(rows.layout.split)
    pairs = twins(store, head, index, apart_only=not rows.drop and policy != "refuse" and not published)
    gone = pairs.again if rows.drop else np.zeros(len(index), np.bool_)
    if policy == "refuse":
        refuse(store, head, pairs, pairs.again & ~gone)
    apart = in_other_parts(store, head, rows.layout, rows.shards, pairs) if published else pairs.apart(index)
    apart &= ~gone
    if published and policy == "same_split":  # a row of a published split is not moved
        refuse(store, head, pairs, apart)
    changed, shards, start = dict[str, int](), list[Shard](), 0
    for shard in rows.shards:
        part = slice(start, start + shard.rows)
        start += shard.rows
        if policy == "same_split" and not published and apart[part].any():
            shard = _anchored(store, shard, pairs.anchor[part])
        if gone[part].any():
            left = shard.bury(np.flatnonzero(gone[part]))
            shard = replace(left, statistics=statistics_of(store, rows.layout, left))
        shards += [shard] if shard.live else []
    if not shards:
        raise NothingChanged("the inputs of every row are there already", "nothing was committed")
    if gone.any():
        changed["left_out"] = int(gone.sum())
    if apart.any():
        moved = "placed_with_equals" if policy == "same_split" else "apart_from_equals"
        changed["in_another_part" if published else moved] = int(apart.sum())
    return NewRows(shards, index.row[~gone], changed)


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

    def apply(
        self, store: Store, head: VersionManifest | None, number: int, tags: list[str], policy: Policy
    ) -> NextVersion:
        """See `Operation`."""
        if head is None:
            raise DataError("there is no version whose rows could be changed", "commit rows first")
        rows = VersionRows(store, head)
        rows.load()
        spots = _locate(rows, self.targets)
        shards = list(head.shards)
        for at in sorted({shard for shard, _ in spots}):
            left = shards[at].bury(np.array([place for shard, place in spots if shard == at]))
            shards[at] = replace(left, statistics=statistics_of(store, head.layout, left))
        fresh = self._place(store, rows, replace(head, shards=list(shards)), spots, policy)
        shards += [brought(shard, number, tags) for shard in fresh]
        after = VersionRows(store, replace(head, shards=[shard for shard in shards if shard.live]))
        everything = after.all()
        chain, tail = Chain().extend(NONE, everything.row)
        if not len(everything):
            raise DataError(f"nothing of {head.name} would be left", "delete the dataset instead")
        _check_changed(rows, chain, tail)
        added = sum(shard.rows for shard in fresh)
        return NextVersion(after.manifest.shards, chain, tail, {"added": added, "deleted": len(spots)})

    def _place(
        self, store: Store, rows: VersionRows, left: VersionManifest, spots: list[tuple[int, int]], policy: Policy
    ) -> list[Shard]:
        """The substitutes at the places of their targets; those with the inputs of another row as the policy says."""
        if not self.substitutes:
            return []
        index = indices(store, self.substitutes)
        targets = [(rows.index(rows.manifest.shards[at]), place) for at, place in spots]
        anchors = np.stack([old.anchor[place] for old, place in targets])
        same = (np.stack([old.input[place] for old, place in targets]) == index.input).all(axis=1)
        if policy != "allow":  # where the inputs stay as they were, nothing new is there to be judged
            pairs = twins(store, left, Index(index.row, anchors, index.input))
            if left.layout.split:
                same &= self._in_same_parts(store, rows, spots)
            if policy == "refuse":
                refuse(store, left, pairs, pairs.again & ~same)
            elif left.layout.split:
                refuse(store, left, pairs, in_other_parts(store, left, left.layout, self.substitutes, pairs) & ~same)
            else:
                anchors = np.where(same[:, None], anchors, pairs.anchor)
        placed, start = list[Shard](), 0
        for shard in self.substitutes:
            placed.append(_anchored(store, shard, anchors[start : start + shard.rows]))
            start += shard.rows
        return placed

    def _in_same_parts(self, store: Store, rows: VersionRows, spots: list[tuple[int, int]]) -> Array:
        """bool (n,): whether a substitute names the part of the published split that its target named."""
        layout, shards = rows.manifest.layout, rows.manifest.shards
        before = {at: part_of_rows(store, layout, shards[at]) for at, _ in spots}
        after = np.concatenate([part_of_rows(store, layout, shard) for shard in self.substitutes])
        return np.asarray(after == np.array([before[at][place] for at, place in spots]))


def _check_changed(before: VersionRows, chain: Chain, tail: Array) -> None:
    """The rows of the chain, in their order, are not those of the version before."""
    if before.manifest.chain == chain and np.array_equal(before.tail(chain.tail), tail):
        raise NothingChanged(f"{before.manifest.name} has exactly these rows", "nothing was committed")


def statistics_of(store: Store, layout: Layout, shard: Shard) -> dict[str, Any]:
    """The statistics of a shard's live rows, from its data."""
    if not shard.live:
        return {}
    return summarise(get_type(layout.type).profile(shard_table(store, shard), layout))


def brought(shard: Shard, number: int, tags: list[str]) -> Shard:
    """The shard as something that version `number` brought."""
    return replace(shard, spans=[Span(shard.rows, number, tags)])


def indices(store: Store, shards: Sequence[Shard]) -> Index:
    """The indices of freshly written shards."""
    return Index.concat([Index.open(store.path(shard.index)) for shard in shards])


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
