"""The rows of a published split: a column of the data, or the tags of commits, say which part a row belongs to.

No row moves by hash. A snapshot keeps what tells the split in `by` (`column NAME` or `tags`) and what names each part
in `split`; where the data have no validation part, that is a share of the training rows, taken by hash.
"""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from airloom.contracts import Snapshot
from airloom.datasets.snapshots.split import COLUMN
from airloom.datasets.storage.digests import digest
from airloom.datasets.storage.index import SHORT, Index
from airloom.datasets.storage.manifest import VersionManifest
from airloom.datasets.storage.part_names import PARTS
from airloom.datasets.storage.parts import check_column, parts_of, refuse_unnamed
from airloom.datasets.storage.rows import VersionRows
from airloom.datasets.storage.schema import Layout
from airloom.datasets.storage.shards import shard_table
from airloom.datasets.storage.store import Store
from airloom.errors import DataError

Array = np.ndarray[Any, Any]


def column_of(snapshot: Snapshot) -> str:
    """The column that tells the split; "" where there is none."""
    return snapshot.by.removeprefix(COLUMN) if snapshot.by.startswith(COLUMN) else ""


def layout_of(layout: Layout, snapshot: Snapshot) -> Layout:
    """The roles of the columns as the snapshot has them: the column that tells its split is no input."""
    column = column_of(snapshot)
    return replace(layout, split=column, parts={}) if column and column != layout.split else layout


def parts_by_rule(store: Store, manifest: VersionManifest, snapshot: Snapshot, keep: Array) -> Array:
    """Of each chosen row the place of its part in `PARTS`, int8 (n,).

    Args:
        store: of this home.
        manifest: of the version.
        snapshot: with the rule.
        keep: which live rows are chosen, bool (n,).

    Raises:
        DataError: there is no such column, or a row belongs to no part, or to two.
    """
    names = {part: values for part, values in snapshot.split.items() if isinstance(values, list)}
    column = column_of(snapshot)
    if not column:
        return _parts_by_tags(store, manifest, names, keep)
    schema, layout = manifest.arrow_schema, manifest.layout
    check_column(schema, column)
    if column in (layout.label, layout.key):
        role = "label" if column == layout.label else "key"
        raise DataError(f"the column {column!a} is the {role} of {manifest.name}", "a split has a column of its own")
    places, before = [np.empty(0, np.int8)], 0
    for shard in manifest.shards:
        cells = shard_table(store, shard).column(column)
        of_shard = parts_of(cells, names)
        chosen = keep[before : before + len(cells)]
        # Rows that are not chosen may say what they like. The function is called at once, within this round.
        where = f"of {manifest.name}, column {column!a}:"
        base = before
        refuse_unnamed(cells, np.where(chosen, of_shard, 0), names, lambda row: f"row {base + row} {where}")  # noqa: B023
        places.append(of_shard[chosen])
        before += len(cells)
    return np.concatenate(places)


def _parts_by_tags(store: Store, manifest: VersionManifest, names: Mapping[str, list[str]], keep: Array) -> Array:
    places, known = [np.empty(0, np.int8)], "; ".join(f"{part}: {', '.join(tags)}" for part, tags in names.items())
    before = 0
    for span in VersionRows(store, manifest).spans():
        chosen = int(keep[before : before + span.rows].sum())
        before += span.rows
        if not chosen:
            continue
        own = [place for place, part in enumerate(PARTS) if set(names.get(part, ())) & set(span.tags)]
        if len(own) != 1:
            said = " and ".join(PARTS[place] for place in own) or "no part of the split"
            tags = ", ".join(span.tags) or "no tag"
            message = f"the {chosen} rows that v{span.version} of {manifest.dataset} brought have {tags}: {said}"
            raise DataError(message, f"the parts have the tags {known}; leave such rows out: `tags: ['!TAG']`, `since`")
        places.append(np.full(chosen, own[0], np.int8))
    return np.concatenate(places)


def split_rows(places: Array, index: Index, snapshot: Snapshot, name: str) -> dict[str, Array]:
    """Places of each split's rows, as `assign` gives them.

    Args:
        places: of each row the place of its part, as `parts_by_rule` gave them.
        index: of the same rows.
        snapshot: with the rule.
        name: of the version, for messages.

    Raises:
        DataError: a part has no row.
    """
    share = snapshot.split["validation"]
    if isinstance(share, float):
        held = (places == 0) & (index.points < share)
        places = np.where(held, np.int8(1), places)
    chosen = {part: np.flatnonzero(places == place).astype(np.int64) for place, part in enumerate(PARTS)}
    for part, rows in chosen.items():
        if len(rows):
            continue
        message = f"the published split by {snapshot.by} of {name} has no rows of {part}"
        if part != "test" and isinstance(share, float):
            raise DataError(message, f"validation is {share:g} of so few training rows; give another share")
        if part == "validation":
            shape = f"column: {column_of(snapshot)}, " if column_of(snapshot) else "tags: {…, "
            close = "}" if column_of(snapshot) else "}}"
            hint = f"say which share of the training rows it is: `split: {{{shape}validation: 0.1{close}`"
            raise DataError(message, f"{hint}; `--split validation=0.1` of `dataset snapshot`")
        raise DataError(message, f"name what tells it: `{part}: [VALUE]`")
    return chosen


def inputs_of(store: Store, manifest: VersionManifest, snapshot: Snapshot, index: Index, keep: Array) -> Array:
    """Digests of the inputs of the chosen rows, uint8 (n, 16), without the column that tells the split.

    A dataset that declares the column has them in its index; else they are made of the rows themselves.
    """
    layout = layout_of(manifest.layout, snapshot)
    if layout.split == manifest.layout.split:
        return index.input
    parts = [np.empty((0, SHORT), np.uint8)]
    for shard in manifest.shards:
        for batch in shard_table(store, shard).to_batches():
            parts.append(digest(batch, layout).inputs[:, :SHORT])
    return np.concatenate(parts)[keep]
