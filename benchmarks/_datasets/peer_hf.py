"""Hugging Face `datasets`: memory-mapped Arrow files, in the formats and ways of reading that its manual names."""

from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from benchmarks._datasets.ours import BATCH
from benchmarks._datasets.reading import Variant

SIDE = "datasets"
BUFFER = 1000  # rows of the shuffle buffer, the default


def variants(folder: Path, images: Any, labels: Any) -> list[Variant]:
    """Write the images as a binary column, which its own gather reads fastest, and read them back."""
    import datasets
    from torch.utils.data import BatchSampler, DataLoader, RandomSampler

    datasets.disable_progress_bars()
    shards = max(2, images.nbytes // (32 << 20))
    column = _binary(images.reshape(len(images), -1))
    table = pa.table({"image": column, "label": labels})
    datasets.Dataset(table).save_to_disk(folder / "binary", num_shards=shards)
    arrow = datasets.load_from_disk(folder / "binary").with_format("arrow")
    stream = arrow.to_iterable_dataset(num_shards=shards).shuffle(seed=0, buffer_size=BUFFER)

    def batched(workers: int) -> Any:
        sampler = BatchSampler(RandomSampler(arrow), BATCH, drop_last=False)
        return DataLoader(arrow, None, sampler=sampler, collate_fn=tensors, num_workers=workers)

    def streamed() -> Iterator[Any]:
        return map(tensors, stream.iter(BATCH))

    found = [
        Variant(f"datasets, arrow format, batched, {workers} workers", SIDE, "full", partial(batched, workers))
        for workers in (0, 2)
    ]
    found.append(Variant("datasets, arrow format, IterableDataset.iter", SIDE, "buffer", streamed))
    found.append(
        Variant(
            "datasets, arrow format, IterableDataset, 2 workers",
            SIDE,
            "buffer",
            partial(DataLoader, stream, BATCH, collate_fn=lambda rows: tensors(pa.concat_tables(rows)), num_workers=2),
        )
    )
    return [*found, _torch_format(folder, images, labels, shards)]


def _torch_format(folder: Path, images: Any, labels: Any, shards: int) -> Variant:
    """The way that the manual shows first."""
    import datasets
    import torch
    from torch.utils.data import BatchSampler, DataLoader, RandomSampler

    size = images[0].size
    lists = pa.FixedSizeListArray.from_arrays(pa.array(images.reshape(-1)), size)
    datasets.Dataset(pa.table({"image": lists, "label": labels})).save_to_disk(folder / "lists", num_shards=shards)
    data = datasets.load_from_disk(folder / "lists").with_format("torch", dtype=torch.uint8)

    def epoch() -> Any:
        sampler = BatchSampler(RandomSampler(data), BATCH, drop_last=False)
        return DataLoader(data, None, sampler=sampler, collate_fn=lambda b: (b["image"], b["label"].long()))

    return Variant("datasets, torch format, batched, 0 workers", SIDE, "full", epoch)


def tensors(table: pa.Table) -> tuple[Any, Any]:
    """A batch as tensors, by as few copies as Arrow allows."""
    import torch

    image, label = (table.column(name).combine_chunks() for name in ("image", "label"))
    image = image.chunk(0) if isinstance(image, pa.ChunkedArray) else image
    offsets = np.frombuffer(image.buffers()[1], np.int32)[image.offset : image.offset + len(image) + 1]
    pixels = np.frombuffer(image.buffers()[2], np.uint8)[offsets[0] : offsets[-1]]
    return torch.from_numpy(pixels.reshape(len(image), 3, 32, 32)), torch.from_numpy(np.asarray(label))


def _binary(rows: Any) -> pa.Array:
    """A binary column of equally long rows, in parts whose 32-bit offsets suffice."""
    offsets = np.arange(0, rows.size + 1, rows.shape[1], np.int32)
    return pa.Array.from_buffers(pa.binary(), len(rows), [None, pa.py_buffer(offsets), pa.py_buffer(rows)])
