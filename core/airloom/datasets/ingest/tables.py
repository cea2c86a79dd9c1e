"""Parquet and Arrow IPC, streamed by pyarrow. What pandas' metadata call an index is left out, and said."""

import json
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa

from airloom.datasets.ingest.batches import Wanted
from airloom.datasets.ingest.limits import batch_rows


def read_parquet(path: Path, wanted: Wanted, _schema: pa.Schema | None) -> Iterator[pa.RecordBatch]:
    """A few MB at a time, however large the row groups are; checksums of pages are verified where there are any."""
    from pyarrow import parquet

    with parquet.ParquetFile(path, buffer_size=1 << 20, pre_buffer=False, page_checksum_verification=True) as file:
        groups = [file.metadata.row_group(number) for number in range(file.metadata.num_row_groups)]
        size = sum(group.total_byte_size for group in groups) / max(1, file.metadata.num_rows)
        index = _index(path, file.schema_arrow, wanted)
        for batch in file.iter_batches(batch_size=batch_rows(size)):
            yield batch.drop_columns(index) if index else batch


def read_ipc(path: Path, wanted: Wanted, _schema: pa.Schema | None) -> Iterator[pa.RecordBatch]:
    """An IPC file or stream, mapped into memory: nothing is copied that needs no change."""
    with path.open("rb") as file:
        is_file = file.read(6) == b"ARROW1"
    with pa.memory_map(str(path)) as source:
        if is_file:
            opened = pa.ipc.open_file(source)
            schema, batches = opened.schema, map(opened.get_batch, range(opened.num_record_batches))
        else:
            batches = pa.ipc.open_stream(source)
            schema = batches.schema
        index = _index(path, schema, wanted)
        for batch in batches:
            yield batch.drop_columns(index) if index else batch


def _index(path: Path, schema: pa.Schema, wanted: Wanted) -> list[str]:
    """The columns that pandas calls an index and that neither the caller nor the dataset names."""
    try:
        index = json.loads((schema.metadata or {}).get(b"pandas", b"{}"))["index_columns"]
    except (ValueError, KeyError, TypeError, RecursionError):
        return []
    left_out = [name for name in index if isinstance(name, str) and name in schema.names and not wanted.names(name)]
    for name in left_out:
        called = f"column {name} of {path.name} is left out: it is pandas' index"
        wanted.notes.append(f"{called} (`--key {name}` or `--column {name}=TYPE` takes it)")
    return left_out
