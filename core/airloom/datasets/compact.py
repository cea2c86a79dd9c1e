"""Cut the live rows of the newest version into new shards: another storage of the same version."""

from collections.abc import Iterator
from dataclasses import replace

import pyarrow as pa

from airloom.contracts import DatasetVersion
from airloom.datasets import commit as commits
from airloom.datasets import versions
from airloom.datasets.operations import statistics_of
from airloom.datasets.race import Race
from airloom.datasets.storage import outputs, repository
from airloom.datasets.storage.index import Index
from airloom.datasets.storage.manifest import Shard, Span, VersionManifest
from airloom.datasets.storage.rows import VersionRows
from airloom.datasets.storage.shards import ShardWriter, shard_table
from airloom.datasets.storage.store import Store
from airloom.errors import DataError, NothingChanged
from airloom.project.person import SERVICE
from airloom.settings import Settings


def compact(settings: Settings, dataset: str) -> tuple[DatasetVersion, VersionManifest]:
    """Merge small shards and drop the data of tombstones. Number, id and the order of the rows stay.

    Raises:
        NothingChanged: the shards are as good already.
        DataError: there is no such dataset.
    """
    version = versions.latest(settings, dataset)
    store, pushed, race = Store(settings), set[str](), Race(settings, f"{version.name} was not compacted")
    while True:
        known = commits.tip(settings, dataset)
        head = known.manifest
        if head is None:
            raise DataError(f"there is no dataset {dataset}", "commit it first")
        try:
            manifest = _recut(store, head)
            files = outputs.dvc_files(store, manifest)
            outputs.push(store, manifest, head, files, pushed)
            recut = f"{len(head.shards)} shards become {len(manifest.shards)}"
            change = repository.Change(
                {f"{dataset}/{name}": data for name, data in files.items()},
                f"{manifest.name}: storage revision {manifest.revision}, {recut}\n",
                SERVICE,
                ref=f"refs/storage/{dataset}/v{manifest.number}",
            )
            repository.publish(settings, change, known.commit)
        except (repository.NotFirst, DataError) as refused:
            if race.forgotten(known.commit):  # what no version names any more is gone
                pushed.clear()
            elif isinstance(refused, DataError):
                raise
            race.lost(known.commit, refused)
            continue
        return versions.get(settings, dataset, manifest.number), manifest


def _recut(store: Store, head: VersionManifest) -> VersionManifest:
    rows = VersionRows(store, head)
    store.fetch({shard.md5: shard.bytes for shard in head.shards})
    rows.load()

    def pieces() -> Iterator[tuple[pa.RecordBatch, Index]]:
        for shard in head.shards:
            index, start = rows.live(shard), 0
            for batch in shard_table(store, shard).combine_chunks().to_batches():
                yield batch, index.take(slice(start, start + batch.num_rows))
                start += batch.num_rows

    writer = ShardWriter(store, head.arrow_schema, head.layout, lambda _: {}, head.cut_bits)
    shards = list(writer.write_indexed(pieces()))
    if [shard.md5 for shard in shards] == [shard.md5 for shard in head.shards]:
        raise NothingChanged(f"{head.name} has {len(shards)} shards already, as few as there can be", "nothing to do")
    shards = [replace(shard, statistics=statistics_of(store, head.layout, shard)) for shard in shards]
    return replace(head, shards=_spread(shards, list(rows.spans())), revision=head.revision + 1)


def _spread(shards: list[Shard], spans: list[Span]) -> list[Shard]:
    """Hand the spans of the old shards' live rows to the new shards, in order."""
    queue, spread = list(reversed(spans)), []
    for shard in shards:
        mine: list[Span] = []
        missing = shard.rows
        while missing:
            span = queue.pop()
            if span.rows > missing:
                queue.append(span._replace(rows=span.rows - missing))
                span = span._replace(rows=missing)
            if mine and (mine[-1].version, mine[-1].tags) == (span.version, span.tags):
                mine[-1] = mine[-1]._replace(rows=mine[-1].rows + span.rows)
            else:
                mine.append(span)
            missing -= span.rows
        spread.append(replace(shard, spans=mine))
    return spread
