"""The data of a snapshot: torch datasets, loaders and tables over the shards in the DVC cache."""

import copy
from collections.abc import Iterator
from functools import cache, cached_property
from typing import Any, Self

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from airloom.classes import Label, in_order
from airloom.contracts import Snapshot
from airloom.datasets.reading.columns import has_gaps, mark_gaps
from airloom.datasets.reading.loader import Loader
from airloom.datasets.reading.mapped import Mapped, ShardFile, damaged
from airloom.datasets.reading.split_data import SplitData
from airloom.datasets.reading.verify import verify_once
from airloom.datasets.snapshots.published import layout_of
from airloom.datasets.storage.manifest import VersionManifest
from airloom.datasets.storage.statistics import Statistics, merge, summarise
from airloom.datasets.storage.store import Progress, Store
from airloom.datasets.types import get_type
from airloom.datasets.types.labels import is_class, label_names, label_of, numbered, without_order
from airloom.errors import ConfigError
from airloom.processing import MOST_CLASSES
from airloom.settings import Settings

TRAINED_ON = ("train", "validation")  # what a training may read


class SnapshotData:
    """Reads a READY snapshot. Shards are fetched on first use, then mapped into memory.

    Labels come as they are stored; text, which no tensor holds, as its number in `all_classes`. A training reads
    `for_model`, where whole numbers and booleans are classes too.
    """

    def __init__(
        self, settings: Settings, snapshot: Snapshot, manifest: VersionManifest, rows: dict[str, NDArray[np.int64]]
    ) -> None:
        self.snapshot = snapshot
        self.layout = layout_of(manifest.layout, snapshot)
        self.schema = without_order(manifest.arrow_schema)
        marked = mark_gaps(self.schema, _gaps(manifest))
        self.empty_columns = [name for name in self.layout.inputs(marked) if has_gaps(marked.field(name))]
        self._settings = settings
        self.manifest = manifest
        self._rows = rows
        self._named = dict[str, set[str]]()
        self._of_models = dict[tuple[str, ...] | None, Self]()
        self._mapped: Mapped | None = None
        self._by_class = bool(self.layout.label) and self.schema.field(self.layout.label).type == pa.large_string()
        self.split = cache(self._split)  # one object a split: its mapping is shared

    def for_model(self, classes: list[str] | None = None) -> Self:
        """The same rows with every label that is a class as its number, int64.

        Args:
            classes: their names in the order of the numbers; None: `all_classes`, of which a model keeps `classes`.
        """
        key = None if classes is None else tuple(classes)
        if key not in self._of_models:
            self._of_models[key] = other = copy.copy(self)
            if classes is not None:
                other.classes = other.all_classes = classes
            other._mapped, other._by_class = self.fetch(), bool(other.all_classes)
            other.split = cache(other._split)
        return self._of_models[key]

    @cached_property
    def classes(self) -> list[str]:
        """The names of a model's classes in the order of its numbers: those that a training may read; [] without any.

        Raises:
            CorruptFile: a shard is damaged.
        """
        read = [name for name in TRAINED_ON if name in self._rows] or list(self._rows)
        return in_order(name for split in read for name in self._names(split))

    @property
    def labels_of_classes(self) -> list[Label]:
        """`classes` as labels are stored: whole numbers stay such."""
        return [label_of(name, self.schema.field(self.layout.label).type) for name in self.classes]

    @cached_property
    def all_classes(self) -> list[str]:
        """`classes`, and behind them those that only other splits have."""
        others = {name for split in self._rows for name in self._names(split)} - set(self.classes)
        return [*self.classes, *in_order(others)]

    @property
    def _is_class(self) -> bool:
        label = self.layout.label
        return bool(label) and is_class(self.schema.field(label).type) and label not in _gaps(self.manifest)

    def _names(self, split: str) -> set[str]:
        """The classes of a split's rows; none where there are so many numbers that they are no classes."""
        if not self._is_class:
            return set()
        if split not in self._named:
            mapped, rows, names = self.fetch(), self._rows[split], set[str]()
            for shard in range(len(mapped.files)):
                low, high = np.searchsorted(rows, mapped.bases[shard : shard + 2])
                if low < high:
                    names |= _names_of(mapped, shard, self.layout.label, rows[low:high] - mapped.bases[shard])
            text = self.schema.field(self.layout.label).type == pa.large_string()
            self._named[split] = names if text or len(names) <= MOST_CLASSES else set()
        return self._named[split]

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
        mapped, classes = self.fetch(), self.all_classes if self._by_class else []
        schema = numbered(mapped.schema, self.layout, classes) if classes else None
        return SplitData(mapped, self._rows[name], self.layout, schema=schema)

    def loader(self, split: str, batch_size: int, **options: Any) -> Loader:
        """The fast path; `options` are those of `Loader`."""
        return Loader(self.split(split), batch_size, snapshot=self.snapshot.id, **options)

    def tensors(self, split: str) -> tuple[Any, Any]:
        """A whole split in memory: (inputs, labels) as the dataset's type makes them."""
        data = self.split(split)
        return data.collate(data.columns(np.arange(len(data))))

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


def _names_of(mapped: Mapped, shard: int, label: str, rows: NDArray[np.int64]) -> set[str]:
    """The classes of some rows of a shard; the column is checked whole, as damaged offsets would lead anywhere."""
    column = mapped.column(shard, label).array
    try:
        column.validate(full=True)
        found = column.take(pa.array(rows)).unique()
    except pa.ArrowException as error:
        raise damaged(mapped.files[shard], f"column {label!r}: {error}") from None
    return set(label_names(found.to_pylist()) or [])
