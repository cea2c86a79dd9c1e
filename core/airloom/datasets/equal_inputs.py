"""Rows with the same inputs: whether there may be several, and where in the split they stand.

Without a key a row stands where its inputs say, so equal ones are always together. With a key, and after corrections,
they may be apart, and one could stand in train while its twin stands in test. A dataset says what then happens:

- `allow`: they stand where their keys say. Two rows alike are ordinary in a table; how many are apart is counted.
- `same_split`: a new row stands where the first one with its inputs stands, and only else where its key says.
- `refuse`: a row whose inputs are there already is refused.

Where a column tells a published split, no row is moved: `allow`, which is usual there whatever the type, counts the
rows whose inputs stand in another part, and `same_split` refuses them.

Only new rows are judged, so a row that stands in a version stays where it is.
"""

import uuid
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal, cast, get_args

import numpy as np

from airloom.datasets.storage import lookup
from airloom.datasets.storage.index import Index, voids
from airloom.datasets.storage.manifest import Shard, VersionManifest
from airloom.datasets.storage.part_names import PARTS
from airloom.datasets.storage.parts import parts_of
from airloom.datasets.storage.rows import VersionRows
from airloom.datasets.storage.schema import Layout
from airloom.datasets.storage.shards import shard_table
from airloom.datasets.storage.store import Store
from airloom.datasets.types import get_type
from airloom.errors import ConfigError, DataError
from airloom.files import write_private, writing

Array = np.ndarray[Any, Any]
Policy = Literal["allow", "same_split", "refuse"]
SHOWN = 20  # pairs that a refusal names; all are in its file


def policy_of(given: str, head: VersionManifest | None, layout: Layout) -> Policy:
    """What holds for the next version: what is asked for, else what the dataset says, else what its type takes.

    A published split takes equal inputs, whatever its type: it is as its publisher made it.

    Raises:
        ConfigError: there is no such policy.
    """
    usual = "allow" if layout.split else getattr(get_type(layout.type), "equal_inputs", "allow")
    policy = given or (head.equal_inputs if head else "") or usual
    if policy not in get_args(Policy):
        raise ConfigError(f"equal inputs: {policy[:80]!r} is not known", f"one of {', '.join(get_args(Policy))}")
    return cast(Policy, policy)


@dataclass(frozen=True)
class Twins:
    """Of each new row the first one with its inputs.

    Attributes:
        anchor: where that stands, uint8 (n, 16); where the row itself is the first, its own anchor.
        earlier: its number among the new rows, int64 (n,); the row's own where none of them was before it.
        shard: the number of the shard of the version before that has it, int64 (n,); -1 where none has.
        place: in that shard.
    """

    anchor: Array
    earlier: Array
    shard: Array
    place: Array

    @property
    def again(self) -> Array:
        """bool (n,): whether a row with these inputs was there before, in the version or among the new rows."""
        return np.asarray((self.shard >= 0) | (self.earlier != np.arange(len(self.earlier))))

    def apart(self, new: Index) -> Array:
        """bool (n,): whether the row stands elsewhere than the first with its inputs."""
        return np.asarray((self.anchor != new.anchor).any(axis=1))


def twins(store: Store, head: VersionManifest | None, new: Index, *, apart_only: bool = False) -> Twins:
    """Look for the inputs of new rows among themselves and among the live rows of a version.

    Args:
        store: of this home.
        head: the version.
        new: the new rows.
        apart_only: find those that stand elsewhere; without keys and corrections there are none to look for.
    """
    if apart_only and not new.anchored and not any(shard.anchored for shard in (head.shards if head else [])):
        nowhere = np.full(len(new), -1)
        return Twins(new.anchor, np.arange(len(new)), nowhere, nowhere)
    _, first, group = np.unique(voids(new.input), return_index=True, return_inverse=True)
    shard = place = np.full(len(first), -1)
    anchor = new.anchor[first]
    if head:
        found = lookup.find(store.settings, VersionRows(store, head), new.input[first])
        shard, place = found.shard, found.place
        anchor = np.where((shard >= 0)[:, None], found.anchor, anchor)
    return Twins(anchor[group], first[group], shard[group], place[group])


def in_other_parts(
    store: Store, head: VersionManifest | None, layout: Layout, shards: Sequence[Shard], pairs: Twins
) -> Array:
    """bool (n,): whether a new row stands in another part of a published split than the first with its inputs."""
    parts = np.concatenate([part_of_rows(store, layout, shard) for shard in shards])
    first = parts[pairs.earlier]
    stored = head.shards if head else []  # without a version before, no pair names a shard
    for number in np.unique(pairs.shard[pairs.shard >= 0]).tolist():
        there = pairs.shard == number
        first[there] = part_of_rows(store, layout, stored[number])[pairs.place[there]]
    return np.asarray(first != parts)


def part_of_rows(store: Store, layout: Layout, shard: Shard) -> Array:
    """Of each row of a shard, tombstones too, the place of its part of a published split, int8 (n,)."""
    whole = replace(shard, dead="", dead_rows=0)
    return parts_of(shard_table(store, whole).column(layout.split), layout.parts)


def refuse(store: Store, head: VersionManifest | None, pairs: Twins, wrong: Array) -> None:
    """Refuse rows whose inputs are there already; bool (n,) says which.

    Raises:
        DataError: there are any. The first are named, and all of them stand in a file.
    """
    rows = np.flatnonzero(wrong).tolist()
    if not rows:
        return
    names = [(f"row {row} of the batch", _name(head, pairs, row)) for row in rows]
    file = store.settings.home / "reports" / f"equal-inputs-{uuid.uuid4().hex[:12]}.csv"
    with writing(file.parent):
        write_private(file, "row,has the inputs of\n" + "".join(f"{row},{twin}\n" for row, twin in names))
    some = "; ".join(f"{row} has those of {twin}" for row, twin in names[:SHOWN])
    more = f"; and {len(rows) - SHOWN} more" if len(rows) > SHOWN else ""
    message = f"equal inputs are refused, and {len(rows)} rows have those of another: {some}{more}"
    hint = "all pairs are in " + str(file) + "; --drop-duplicates leaves such rows out of a commit,"
    raise DataError(message, f"{hint} --equal-inputs allow or same_split takes them")


def _name(head: VersionManifest | None, pairs: Twins, row: int) -> str:
    if head is None or pairs.shard[row] < 0:
        return f"row {pairs.earlier[row]} of the batch"
    shard, place = head.shards[pairs.shard[row]], pairs.place[row]
    before = sum(shard.live for shard in head.shards[: pairs.shard[row]])
    return f"row {before + place - int(shard.tombstones[:place].sum())} of {head.name}"


def note_of(
    store: Store, head: VersionManifest | None, new: Index, policy: Policy, layout: Layout, shards: Sequence[Shard]
) -> str:
    """What a validation report says of new rows whose inputs are there already, at another place of the split.

    Args:
        store: of this home.
        head: the version that they are added to.
        new: the indices of the new rows.
        policy: of the dataset.
        layout: the roles of its columns.
        shards: with the new rows.
    """
    if layout.split:
        count = int(in_other_parts(store, head, layout, shards, twins(store, head, new)).sum())
        refused = policy != "allow" and count
        stay = "the dataset refuses such rows" if refused else "they stay where the split was published"
        told = f": {stay}" if count else ""
        return f"Equal inputs: {count:,} of {len(new):,} rows have the inputs of a row in another part{told}."
    count = int(twins(store, head, new, apart_only=True).apart(new).sum())
    then = {
        "allow": "they are taken, and may stand in another split than that row",
        "same_split": "they stand where that row stands",
        "refuse": "the dataset refuses such rows",
    }
    rest = f": {then[policy]}" if count else ""
    return f"Equal inputs: {count:,} of {len(new):,} rows have the inputs of a row with another key{rest}."


def told(changed: dict[str, int]) -> list[str]:
    """For people: what became of the equal inputs of a commit, as its manifest has it."""
    words = {
        "left_out": "rows were left out, as their inputs are there already",
        "placed_with_equals": "rows stand in the split of the first row with their inputs, not in that of their key",
        "apart_from_equals": "rows have the inputs of a row with another key, and may stand in another split",
        "in_another_part": "rows have the inputs of a row in another part of the published split",
    }
    return [f"{changed[kind]:,} {text}" for kind, text in words.items() if changed.get(kind)]


def rows_apart(store: Store, manifest: VersionManifest) -> int | None:
    """How many live rows of a version have inputs that stand in several places of a split.

    None where this home does not have the version's indices: they are not fetched for a number.
    """
    layout = manifest.layout
    if not layout.split and not any(shard.anchored for shard in manifest.shards):
        return 0
    needed = [shard.index for shard in manifest.shards] + [shard.md5 for shard in manifest.shards if layout.split]
    if not all(store.path(name).exists() for name in needed):
        return None
    index = VersionRows(store, manifest).all()
    _, first, group = np.unique(voids(index.input), return_index=True, return_inverse=True)
    if layout.split:
        parts = live_parts(store, manifest)
        apart = parts != parts[first[group]]
    else:
        apart = (index.anchor != index.anchor[first[group]]).any(axis=1)
    return int(np.isin(group, group[apart]).sum())


def live_parts(store: Store, manifest: VersionManifest) -> Array:
    """Of each live row the place of its part of the published split, int8 (n,)."""
    parts = [part_of_rows(store, manifest.layout, shard)[~shard.tombstones] for shard in manifest.shards]
    return np.concatenate(parts)


def rows_by_part(store: Store, manifest: VersionManifest) -> dict[str, int] | None:
    """How many live rows each part of the published split has; None where this home does not have their data."""
    if not all(store.path(shard.md5).exists() for shard in manifest.shards):
        return None
    counts = np.bincount(live_parts(store, manifest), minlength=len(PARTS)).tolist()
    return dict(zip(PARTS, counts, strict=True))
