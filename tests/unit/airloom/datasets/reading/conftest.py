"""Real shards in a folder: written as a commit writes them, read-only and named by their MD5."""

import hashlib
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from airloom.datasets.reading.mapped import Mapped, ShardFile
from airloom.datasets.reading.split_data import SplitData
from airloom.datasets.storage.schema import Layout

SIZES = (70, 1, 0, 129, 40)
SCHEMA = pa.schema(
    [
        pa.field("image", pa.list_(pa.uint8(), 12), nullable=False, metadata={"shape": "3,2,2"}),
        pa.field("text", pa.large_string(), nullable=False),
        pa.field("blob", pa.large_binary(), nullable=False),
        pa.field("label", pa.int64(), nullable=False),
    ]
)


def rows_of(start: int, count: int) -> pa.RecordBatch:
    """Rows whose label is their number, all different, with texts of every width and empty ones."""
    numbers = range(start, start + count)
    pixels = np.random.default_rng(start).integers(0, 256, count * 12, dtype=np.uint8)
    columns = [
        pa.FixedSizeListArray.from_arrays(pa.array(pixels, pa.uint8()), 12),
        pa.array(["" if number % 7 == 0 else f"row {number} ä€😀" for number in numbers], pa.large_string()),
        pa.array([bytes([number % 256]) * (number % 50) for number in numbers], pa.large_binary()),
        pa.array(numbers, pa.int64()),
    ]
    return pa.record_batch(columns, schema=SCHEMA)


def write(folder: Path, batches: Sequence[pa.RecordBatch]) -> list[ShardFile]:
    """A shard for each batch."""
    files = []
    for batch in batches:
        sink = pa.BufferOutputStream()
        with pa.ipc.new_file(sink, batch.schema) as writer:
            writer.write_batch(batch)
        data = sink.getvalue().to_pybytes()
        md5 = hashlib.md5(data, usedforsecurity=False).hexdigest()
        path = folder / f"{md5}.arrow"
        if not path.exists():
            path.write_bytes(data)
            path.chmod(0o444)
        files.append(ShardFile(path, md5, batch.num_rows))
    return files


def tensors(columns: dict[str, Any], schema: pa.Schema, layout: Layout) -> tuple[Any, Any]:
    """Inputs as a dict where there are several, labels as a tensor."""
    import torch

    parts = {name: torch.from_numpy(c) if isinstance(c, np.ndarray) else c for name, c in columns.items()}
    labels = parts.pop(layout.label, None)
    return (parts if len(parts) > 1 else next(iter(parts.values()))), labels


@dataclass
class Source:
    """The shards and, beside them, the same rows as one table in memory."""

    files: list[ShardFile]
    table: pa.Table
    flip: Callable[[ShardFile], None]

    def mapped(self) -> Mapped:
        return Mapped(self.files, self.table.schema)

    def data(self, rows: Any = None, collate: Any = tensors, layout: Layout | None = None) -> SplitData:
        rows = np.arange(self.table.num_rows) if rows is None else np.asarray(rows, np.int64)
        return SplitData(self.mapped(), rows, layout or Layout("any", "label"), collate)


def _flip(file: ShardFile) -> None:
    """Change one byte in the middle, and put back size and times."""
    before = file.path.stat()
    data = bytearray(file.path.read_bytes())
    data[len(data) // 2] ^= 1
    file.path.chmod(0o644)
    with file.path.open("r+b") as opened:  # the same inode, so that mappings see it
        opened.write(data)
    file.path.chmod(before.st_mode)
    os.utime(file.path, ns=(before.st_atime_ns, before.st_mtime_ns))


@pytest.fixture
def make(tmp_path: Path) -> Callable[..., Source]:
    """Makes a source from record batches."""

    def of(batches: Sequence[pa.RecordBatch]) -> Source:
        return Source(write(tmp_path, batches), pa.Table.from_batches(batches), _flip)

    return of


@pytest.fixture
def source(make: Callable[..., Source]) -> Source:
    """240 rows in five shards, one of them empty."""
    starts = np.cumsum([0, *SIZES]).tolist()
    return make([rows_of(start, size) for start, size in zip(starts, SIZES, strict=False)])


@pytest.fixture(scope="session")
def lasting(tmp_path_factory: pytest.TempPathFactory) -> Source:
    """The same rows for property tests, which must not change them."""
    starts = np.cumsum([0, *SIZES]).tolist()
    batches = [rows_of(start, size) for start, size in zip(starts, SIZES, strict=False)]
    return Source(write(tmp_path_factory.mktemp("shards"), batches), pa.Table.from_batches(batches), _flip)
