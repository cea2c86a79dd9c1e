"""The data of a snapshot: torch datasets, loaders and tables over the shards in the DVC cache."""

from collections.abc import Iterator
from functools import cache
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from airloom.contracts import Snapshot
from airloom.datasets.reading.columns import has_gaps, mark_gaps
from airloom.datasets.reading.loader import Loader
from airloom.datasets.reading.mapped import Mapped, ShardFile
from airloom.datasets.reading.split_data import SplitData
from airloom.datasets.reading.verify import verify_once
from airloom.datasets.snapshots.published import layout_of
from airloom.datasets.storage.manifest import VersionManifest
from airloom.datasets.storage.shards import shard_table
from airloom.datasets.storage.statistics import Statistics, merge, summarise
from airloom.datasets.storage.store import Progress, Store
from airloom.datasets.types import get_type
from airloom.datasets.types.labels import classes_of, declare_found
from airloom.errors import ConfigError
from airloom.settings import Settings


class SnapshotData:
    """Reads a READY snapshot. Shards are fetched on first use, then mapped into memory."""

    def __init__(
        self, settings: Settings, snapshot: Snapshot, manifest: VersionManifest, rows: dict[str, NDArray[np.int64]]
    ) -> None:
        self.snapshot = snapshot
        self.layout = layout_of(manifest.layout, snapshot)
        self.schema = declare_found(manifest.arrow_schema, manifest.layout, _labels(settings, manifest))
        marked = mark_gaps(self.schema, _gaps(manifest))
        self.empty_columns = [name for name in self.layout.inputs(marked) if has_gaps(marked.field(name))]
        self._settings = settings
        self.manifest = manifest
        self._rows = rows
        self._mapped: Mapped | None = None
        self.split = cache(self._split)  # one object a split: its mapping is shared

    def fetch(self, progress: Progress | None = None) -> Mapped:
        """Have all shards in the cache; `progress` is told bytes done and bytes in all."""
        if self._mapped is None:
            shards = self.manifest.shards
            paths = Store(self._settings).fetch({shard.md5: shard.bytes for shard in shards}, progress)
            files = [ShardFile(paths[shard.md5], shard.md5, shard.rows) for shard in shards]
            self._mapped = Mapped(files, mark_gaps(self.schema, _gaps(self.manifest)))
        return self._mapped

    def _split(self, name: str) -> SplitData:
        """A torch map-style dataset of one split.

        Raises:
            ConfigError: there is no such split.
        """
        if name not in self._rows:
            known = ", ".join(self._rows)
            raise ConfigError(f"snapshot {self.snapshot.id[:12]} has no split {name!r}", f"it has {known}")
        return SplitData(self.fetch(), self._rows[name], self.layout)

    def loader(self, split: str, batch_size: int, **options: Any) -> Loader:
        """The fast path; `options` are those of `Loader`."""
        return Loader(self.split(split), batch_size, snapshot=self.snapshot.id, **options)

    def tensors(self, split: str) -> tuple[Any, Any]:
        """A whole split in memory: (inputs, labels) as the dataset's type makes them."""
        data = self.split(split)
        columns = data.columns(np.arange(len(data)))
        return get_type(self.layout.type).to_tensors(columns, self.schema, self.layout)

    def table(self, split: str) -> pa.Table:
        """A whole split as an Arrow table, in the snapshot's order."""
        return pa.concat_tables([part for part in self.tables(split)])

    def tables(self, split: str) -> Iterator[pa.Table]:
        """The rows of a split, shard by shard."""
        data, base = self.split(split), 0
        for shard, file in enumerate(data.mapped.files):
            low, high = np.searchsorted(data.rows, [base, base + file.rows])
            verify_once(data.mapped, data.rows[low:high])
            table = pa.ipc.open_file(data.mapped.buffer(shard)).read_all().cast(self.schema)
            yield table.take(pa.array(data.rows[low:high] - base))
            base += file.rows

    def frame(self, split: str) -> Any:
        """The type's profile of a split's rows, and their labels, as a pandas frame in the snapshot's order."""
        import pandas as pd

        kind = get_type(self.layout.type)
        parts = [kind.profile(table, self.layout) for table in self.tables(split) if table.num_rows]
        return pd.concat(parts, ignore_index=True)

    def tags(self, split: str) -> list[list[str]]:
        """Of each row of a split, the tags of the commit that brought it."""
        numbers, spans, base = self.split(split).rows, [], 0
        for shard in self.manifest.shards:
            for span in shard.spans:
                spans.append((base, span.tags))
                base += span.rows
        places = np.searchsorted([start for start, _ in spans], numbers, side="right") - 1
        return [spans[place][1] for place in places]

    def statistics(self, split: str) -> Statistics:
        """Statistics of a split's rows, a chunk of them in memory at a time."""
        kind = get_type(self.layout.type)
        tables = (table for table in self.tables(split) if table.num_rows)
        return merge(summarise(kind.profile(table, self.layout)) for table in tables)


def _gaps(manifest: VersionManifest) -> set[str]:
    """The columns with an empty cell in the whole version, so that every batch of every split has the same types."""
    shards = [shard.statistics for shard in manifest.shards if shard.live]
    return {name for columns in shards for name, column in columns.items() if column.get("nulls")}


def _labels(settings: Settings, manifest: VersionManifest) -> list[str]:
    """The labels of the whole version, so that every split numbers its classes alike."""
    label, schema = manifest.layout.label, manifest.arrow_schema
    if not label or schema.field(label).type != pa.large_string() or classes_of(schema, manifest.layout):
        return []
    counts = [shard.statistics.get(label, {}).get("counts") for shard in manifest.shards if shard.live]
    if all(count is not None for count in counts):
        return sorted({value for count in counts for value in count or {}})
    store = Store(settings)  # more classes than the statistics count: read them
    columns = [shard_table(store, shard).column(label).unique().to_pylist() for shard in manifest.shards]
    return sorted({value for column in columns for value in column})
