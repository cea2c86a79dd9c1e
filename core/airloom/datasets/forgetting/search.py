"""Find rows by their key in everything that any version of a dataset is or was stored in, tombstones too."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from airloom.datasets import edit, versions
from airloom.datasets.storage import repository, rewrite
from airloom.datasets.storage.digests import digest
from airloom.datasets.storage.git import objects
from airloom.datasets.storage.index import SHORT, Index
from airloom.datasets.storage.manifest import Shard, VersionManifest
from airloom.datasets.storage.store import Store, md5_of
from airloom.errors import ConfigError, DataAway, DataError
from airloom.settings import Settings

Array = np.ndarray[Any, Any]
Pair = tuple[str, str]  # MD5 of a shard and of its index: rows committed twice may share the first alone


@dataclass
class Found:
    """What holds rows with some keys.

    Attributes:
        dataset: its name.
        head: the commit of main before it was looked: who finds another one there has to look again.
        manifests: every manifest of its history, by its blob in git.
        places: in each shard with such rows, where they stand.
        anchors: what the split is decided by, of such rows, 16 bytes each.
        digests: of such rows, 32 bytes each.
        live: by version, how many of its live rows they are.
        brought: the versions whose commits brought them.
        unkeyed: versions whose rows have no key, and cannot be searched.
        lost: shards of deleted versions that are gone already.
        values: the keys as each type of the key column has them, with the column's name.
    """

    dataset: str
    head: str
    manifests: dict[str, VersionManifest]
    places: dict[Pair, Array] = field(default_factory=dict)
    anchors: set[bytes] = field(default_factory=set)
    digests: set[bytes] = field(default_factory=set)
    live: dict[int, int] = field(default_factory=dict)
    brought: set[int] = field(default_factory=set)
    unkeyed: set[int] = field(default_factory=set)
    lost: set[Pair] = field(default_factory=set)
    values: list[tuple[str, pa.Array]] = field(default_factory=list)
    keys: set[int] = field(default_factory=set)  # which of the keys were found, by their places

    def holds(self, name: str, column: pa.ChunkedArray | pa.Array) -> bool:
        """Whether a column of this name has one of the keys."""
        return any(
            known == name and values.type == column.type and pc.any(pc.is_in(column, value_set=values)).as_py()
            for known, values in self.values
        )


def search(settings: Settings, store: Store, dataset: str, keys: Sequence[str]) -> Found:
    """Look for rows with these keys; data that are not in the cache are fetched.

    Raises:
        DataError: there is no such dataset, or what a version is stored in cannot be read.
        ConfigError: it declares no key, or a key is of another type.
    """
    found = Found(dataset, *read_manifests(settings, dataset))
    if not found.manifests:
        versions.latest(settings, dataset)  # its error says which there are
    layouts = dict[str, tuple[pa.Field, pa.Array]]()  # by the serialised schema and the key's name
    refusals = list[ConfigError]()
    for manifest in found.manifests.values():
        name = manifest.layout.key
        if not name:
            found.unkeyed.add(manifest.number)
        elif manifest.schema + name not in layouts:
            column = manifest.arrow_schema.field(name)
            try:
                wanted = pa.array([edit.typed_key(key, column) for key in keys], column.type)
            except ConfigError as error:
                refusals.append(error)
                wanted = pa.array([], column.type)
            layouts[manifest.schema + name] = (column, wanted)
    if not layouts:
        message, hint = f"{dataset} declares no key", "only rows with a key can be forgotten by it"
        raise ConfigError(message, f"{hint}; `airloom dataset delete {dataset}` deletes all of it")
    if refusals and not any(len(wanted) for _, wanted in layouts.values()):
        raise refusals[0]
    found.values = [(column.name, wanted) for column, wanted in layouts.values() if len(wanted)]
    _look(settings, store, found, layouts)
    return found


def read_manifests(settings: Settings, dataset: str) -> tuple[str, dict[str, VersionManifest]]:
    """The commit of main, and every manifest in the history of a dataset, by its blob, in the order of history."""
    if not settings.data_repo.is_dir() and not settings.data_remote:
        return "", {}
    repo = repository.refresh(settings)
    head = repository.head(repo)  # first: a commit that comes meanwhile makes the push fail
    blobs = list(rewrite.manifests(repo, versions.check_name(dataset)))
    parsed = dict[str, VersionManifest]()
    for blob, text in zip(blobs, objects(repo, blobs) if blobs else (), strict=True):
        if text is None:
            raise DataError(f"manifest {blob} is missing in {repo}", "`git fsck` there names what is lost; restore it")
        parsed[blob] = VersionManifest.from_json(text.decode())
    return head, parsed


def _look(settings: Settings, store: Store, found: Found, layouts: Mapping[str, tuple[pa.Field, pa.Array]]) -> None:
    deleted = {int(number) for number in versions.deletions(settings.data_repo, found.dataset)}
    holders = dict[Pair, set[int]]()
    shards = dict[Pair, tuple[Shard, VersionManifest]]()
    for manifest in found.manifests.values():
        for shard in manifest.shards:
            holders.setdefault((shard.md5, shard.index), set()).add(manifest.number)
            if manifest.layout.key or (shard.md5, shard.index) not in shards:
                shards[shard.md5, shard.index] = (shard, manifest)
    _fetch(store, found, shards, {pair for pair, numbers in holders.items() if numbers <= deleted})
    for pair, (shard, manifest) in shards.items():
        if pair in found.lost or not manifest.layout.key:
            continue
        column, wanted = layouts[manifest.schema + manifest.layout.key]
        table = open_whole(store, shard)
        cells = table.column(column.name)
        places = np.flatnonzero(np.asarray(pc.is_in(cells, value_set=wanted)))
        if len(places):
            found.places[pair] = places
            rows = table.take(pa.array(places))
            found.keys |= set(pc.index_in(rows.column(column.name), value_set=wanted).to_pylist())
            for batch in rows.combine_chunks().to_batches():
                digests = digest(batch.cast(manifest.arrow_schema), manifest.layout)
                found.anchors |= {anchor[:SHORT].tobytes() for anchor in digests.anchor}
                found.digests |= {row.tobytes() for row in digests.row}
    for manifest in found.manifests.values():
        _count(found, manifest)


def _fetch(
    store: Store, found: Found, shards: Mapping[Pair, tuple[Shard, VersionManifest]], deleted: set[Pair]
) -> None:
    """Have all objects in the cache; of deleted versions those that are there still."""
    sizes: dict[str, int | None] = {}
    for pair, (shard, _) in shards.items():
        if pair not in deleted:
            sizes |= {shard.md5: shard.bytes, shard.index: shard.index_bytes}
    store.fetch(sizes)
    for pair in deleted:
        shard, _ = shards[pair]
        try:
            store.fetch({shard.md5: shard.bytes, shard.index: shard.index_bytes})
        except DataAway:
            raise
        except DataError:
            found.lost.add(pair)


def open_whole(store: Store, shard: Shard) -> pa.Table:
    """All rows of a shard, tombstones too, mapped into memory."""
    path = store.get(shard.md5, shard.bytes)
    if md5_of(path) != shard.md5:
        store.repair([shard.md5])
    return pa.ipc.open_file(pa.memory_map(str(path))).read_all()


def _count(found: Found, manifest: VersionManifest) -> None:
    live = 0
    for shard in manifest.shards:
        places = found.places.get((shard.md5, shard.index))
        if places is None:
            continue
        live += int((~shard.tombstones[places]).sum())
        ends = np.cumsum([span.rows for span in shard.spans])
        for at in np.unique(np.searchsorted(ends, places, side="right")).tolist():
            found.brought.add(shard.spans[at].version)
    if live:
        found.live[manifest.number] = max(live, found.live.get(manifest.number, 0))


def strays(found: Found, named: set[str], folders: Sequence[Path]) -> list[str]:
    """Objects below some folders that no version names, and that hold such a row or a digest of it.

    A commit that failed or was refused left them; of `named` none is looked at.
    """
    names = list[str]()
    for folder in folders:
        for path in folder.glob("[0-9a-f][0-9a-f]/*"):
            name = path.parent.name + path.name
            if name not in named and _stray(found, path, set(names)):
                names.append(name)
    return names


def _stray(found: Found, path: Path, known: set[str]) -> bool:
    if path.name.endswith(".dir"):
        text = path.read_text(errors="replace")
        return any(md5 in text for pair in found.places for md5 in pair) or any(name in text for name in known)
    try:
        with pa.memory_map(str(path)) as source:
            table = pa.ipc.open_file(source).read_all()
            if any(found.holds(name, table.column(name)) for name in table.column_names):
                return True
            if not {"row", "anchor"} <= set(table.column_names):
                return False
            index = Index.open(path)
    except (pa.ArrowException, OSError, AttributeError):
        return False  # neither a shard nor an index: no commit of ours left it
    rows, anchors = ({cell.tobytes() for cell in part} for part in (index.row, index.anchor))
    return bool(rows & found.digests or anchors & found.anchors)
