"""Read whole versions as Arrow tables, each shard checked. Training reads through `airloom.datasets.reading`."""

import pyarrow as pa

from airloom.contracts import DatasetVersion
from airloom.datasets.manifest import Shard
from airloom.datasets.store import Store, md5_of
from airloom.datasets.versions import manifest_of
from airloom.errors import CorruptFile
from airloom.settings import Settings


def read(settings: Settings, version: DatasetVersion) -> pa.Table:
    """All live rows of a version, in their order.

    Raises:
        DataError: a shard is neither in the cache nor in the remote.
        CorruptFile: a shard is damaged in both; the message names the file.
    """
    manifest, store = manifest_of(settings, version), Store(settings)
    store.fetch({shard.md5: shard.bytes for shard in manifest.shards})
    tables = [shard_table(store, shard) for shard in manifest.shards]
    return pa.concat_tables(tables).cast(manifest.arrow_schema)


def shard_table(store: Store, shard: Shard) -> pa.Table:
    """The live rows of one shard, mapped into memory after its digest was checked.

    Raises:
        CorruptFile: it is damaged here and in the remote.
    """
    path = store.get(shard.md5, shard.bytes)
    if md5_of(path) != shard.md5:
        store.repair([shard.md5])
    table = pa.ipc.open_file(pa.memory_map(str(path))).read_all()
    if table.num_rows != shard.rows:
        raise CorruptFile(f"{path} has {table.num_rows} rows, the manifest says {shard.rows}", "restore the manifest")
    return table.filter(pa.array(~shard.tombstones)) if shard.dead else table
