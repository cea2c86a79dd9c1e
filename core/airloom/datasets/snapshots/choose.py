"""Which rows of a version belong to each split of a snapshot."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from airloom.contracts import Snapshot
from airloom.datasets.snapshots.published import inputs_of, parts_by_rule, split_rows
from airloom.datasets.snapshots.split import assign
from airloom.datasets.storage.index import voids
from airloom.datasets.storage.manifest import VersionManifest
from airloom.datasets.storage.rows import VersionRows
from airloom.datasets.storage.store import Store
from airloom.errors import DataError

Array = np.ndarray[Any, Any]


def choose(store: Store, manifest: VersionManifest, snapshot: Snapshot) -> tuple[dict[str, Array], dict[str, int]]:
    """Physical row numbers of each split, int64, ascending; and how many have inputs that an earlier split has too.

    Raises:
        DataError: the filter leaves no row; or of a published split a row names no part, or a part has no row.
    """
    rows = VersionRows(store, manifest)
    keep = np.concatenate([np.full(s.rows, snapshot.reads(s.version, s.tags)) for s in rows.spans()])
    physical, index = rows.physical[keep], rows.all().take(keep)
    if not len(physical):
        asked = f"since version {snapshot.since} with tags {', '.join(snapshot.tags) or 'any'}"
        raise DataError(f"{manifest.name} has no rows {asked}", "loosen the filter")
    if snapshot.by:
        parts = parts_by_rule(store, manifest, snapshot, keep)
        places = split_rows(parts, index, snapshot, manifest.name)
        twice = repeated(inputs_of(store, manifest, snapshot, index, keep), places)
    else:
        places = assign(index.points, snapshot.split)
        twice = repeated(index.input, places) if index.anchored else {}  # without a key equal inputs are never apart
    return {name: physical[chosen] for name, chosen in places.items()}, twice


def repeated(inputs: Array, splits: Mapping[str, Array]) -> dict[str, int]:
    """How many rows of a split have inputs that an earlier split has too, by split; those without any are left out.

    Args:
        inputs: of each row, uint8 (n, 16).
        splits: places of each split's rows, as `assign` returned them.
    """
    _, group = np.unique(voids(inputs), return_inverse=True)
    seen, counts = np.zeros(len(inputs), np.bool_), dict[str, int]()
    for name, places in splits.items():
        counts[name] = int(seen[group[places]].sum())
        seen[group[places]] = True
    return {name: count for name, count in counts.items() if count}
