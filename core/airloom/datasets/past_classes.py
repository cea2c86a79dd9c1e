"""How releases before classes were names numbered the labels of a version: what they trained can still be compared."""

import pyarrow as pa

from airloom.contracts import DatasetVersion
from airloom.datasets import versions
from airloom.datasets.storage.shards import shard_table
from airloom.datasets.storage.store import Store
from airloom.datasets.types.labels import classes_of
from airloom.settings import Settings


def past_classes(settings: Settings, version: DatasetVersion) -> list[str]:
    """The classes in the order of their numbers: as declared when the dataset was made, else sorted as text.

    [] where the labels are whole numbers, which were class numbers as they were.

    Raises:
        DataError: there is no such version any more.
    """
    manifest = versions.manifest_of(settings, version)
    label, schema = manifest.layout.label, manifest.arrow_schema
    if not label or schema.field(label).type != pa.large_string():
        return []
    if declared := classes_of(schema, manifest.layout):
        return declared
    counts = [shard.statistics.get(label, {}).get("counts") for shard in manifest.shards if shard.live]
    if all(count is not None for count in counts):
        return sorted({value for count in counts for value in count or {}})
    store = Store(settings)  # more classes than the statistics count: read them
    columns = [shard_table(store, shard).column(label).unique().to_pylist() for shard in manifest.shards]
    return sorted({value for column in columns for value in column})
