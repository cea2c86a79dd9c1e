"""Read whole versions as Arrow tables, each shard checked. Training reads through `airloom.datasets.reading`."""

import pyarrow as pa

from airloom.contracts import DatasetVersion
from airloom.datasets.storage.shards import shard_table
from airloom.datasets.storage.store import Store
from airloom.datasets.versions import check_whole, manifest_of
from airloom.settings import Settings


def read(settings: Settings, version: DatasetVersion, *, allow_redacted: bool = False) -> pa.Table:
    """All live rows of a version, in their order.

    Args:
        settings: of this installation.
        version: which one.
        allow_redacted: read what is left, where rows of it were forgotten.

    Raises:
        Redacted: rows of it were forgotten, and what is left was not asked for.
        DataError: a shard is neither in the cache nor in the remote.
        CorruptFile: a shard is damaged in both; the message names the file.
    """
    check_whole(settings, version, allow_redacted=allow_redacted)
    manifest, store = manifest_of(settings, version), Store(settings)
    store.fetch({shard.md5: shard.bytes for shard in manifest.shards})
    tables = [shard_table(store, shard) for shard in manifest.shards]
    return pa.concat_tables(tables).cast(manifest.arrow_schema) if tables else manifest.arrow_schema.empty_table()
