"""Made-up data that nothing can compress: real photos would be no different to a loader that does not decode them."""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

CLASSES = 10


@dataclass(frozen=True)
class Sizes:
    """How much there is; `full` is 1.6 GB in all and what is kept, `quick` only shows that everything runs."""

    images: int
    texts: int
    blobs: int
    million: int
    versions: int
    rounds: int


FULL = Sizes(images=200_000, texts=200_000, blobs=50_000, million=1_000_000, versions=10_000, rounds=5)
QUICK = Sizes(images=10_000, texts=20_000, blobs=2_500, million=100_000, versions=300, rounds=2)


def images(count: int) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """Pixels (count, 3, 32, 32) and labels (count,)."""
    random = np.random.default_rng(1)
    return random.integers(0, 256, (count, 3, 32, 32), np.uint8), random.integers(0, CLASSES, count)


def texts(count: int) -> tuple[list[str], NDArray[np.int64]]:
    """Rows of 93 letters and spaces in the mean, and labels (count,)."""
    random = np.random.default_rng(2)
    letters = np.frombuffer(b"abcdefghijklmnopqrstuvwxyz    ", np.uint8)
    lengths = random.integers(21, 166, count)
    text = letters[random.integers(0, len(letters), int(lengths.sum()))].tobytes().decode()
    ends = np.cumsum(lengths).tolist()
    cut = [text[end - length : end] for end, length in zip(ends, lengths.tolist(), strict=True)]
    return cut, random.integers(0, CLASSES, count)


@dataclass(frozen=True)
class Blobs:
    """Byte strings of 4 to 44 KB, 20 KB in the mean, in one buffer: blob i is `data[offsets[i]:offsets[i + 1]]`."""

    data: NDArray[np.uint8]
    offsets: NDArray[np.int64]
    labels: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.labels)

    def __iter__(self) -> Iterator[memoryview]:
        """Views of the blobs."""
        view = memoryview(self.data)
        ends = self.offsets.tolist()
        yield from (view[start:stop] for start, stop in pairwise(ends))

    @property
    def bytes(self) -> int:
        """Of all blobs and their labels."""
        return len(self.data) + 8 * len(self)

    def batches(self, rows: int = 400) -> list[pa.RecordBatch]:
        """As Arrow, without a copy, in batches of some megabytes as any source gives them."""
        kind = pa.large_binary()
        buffers = [None, pa.py_buffer(self.offsets), pa.py_buffer(self.data)]
        column = pa.Array.from_buffers(kind, len(self), buffers)
        schema = pa.schema([pa.field("blob", kind), pa.field("label", pa.int64())])
        return pa.Table.from_arrays([column, pa.array(self.labels)], schema=schema).to_batches(rows)


def blobs(count: int, seed: int = 3) -> Blobs:
    """Random blobs; another seed gives others."""
    random = np.random.default_rng(seed)
    sizes = random.triangular(4_000, 12_000, 44_000, count).astype(np.int64)
    offsets = np.concatenate([[0], np.cumsum(sizes)])
    data = np.frombuffer(random.bytes(int(offsets[-1])), np.uint8)
    return Blobs(data, offsets, random.integers(0, CLASSES, count))
