"""One side of the race, in a process of its own: `python -m benchmarks._images.sides FOLDER SIDE digest|time`."""

import gc
import hashlib
import json
import os
import sys
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import psutil

from airloom.contracts import Snapshot
from airloom.pictures import Picture
from airloom.training.source import SnapshotSplits
from benchmarks._datasets.measure import Cost, now
from benchmarks._images import data

Epoch = Callable[[], Iterable[Any]]  # each call is one
Side = Callable[[Path], Epoch]
PICTURE = Picture(height=160, width=160)
BATCH = 64
os.environ["DISABLE_VERSION_CHECK"] = "1"  # litdata would ask the package index at each import


def flipped(images: Any) -> Any:
    """An augmentation: half of the pictures are turned around."""
    import torch

    chosen = torch.rand(len(images)) < 0.5
    images[chosen] = images[chosen].flip(-1)
    return images


def _flipped_pair(images: Any, labels: Any) -> Any:
    return flipped(images), labels


def _own(folder: Path) -> Epoch:
    """Decoded in threads, and augmented there."""
    source = SnapshotSplits(data.home(folder), _snapshot(folder, "pictures")).framed(PICTURE)
    augment = _flipped_pair if TIMED else None
    loader = source.loader("train", BATCH, transform=augment, threads=2)
    return lambda: (images for images, _ in loader)


def _floor(folder: Path) -> Epoch:
    """The bare decode and resize of the same library in one loop; the files are in memory."""
    rows = [path.read_bytes() for path in data.files(folder)]
    return lambda: (PICTURE.frames(rows[start : start + BATCH]) for start in range(0, len(rows), BATCH))


def _decoded(cells: list[bytes]) -> Any:
    import torch

    return torch.from_numpy(PICTURE.frames(cells)).float().div_(255)


def _augmented(batches: Iterable[Any]) -> Epoch:
    return lambda: (flipped(batch) if TIMED else batch for batch in batches)


def _image_folder(folder: Path, workers: int) -> Epoch:
    import torch
    from torch.utils.data import DataLoader

    known = torch.library.Library("torchvision", "DEF")
    for name in ("nms", "qnms"):  # its wheel for CUDA has them where torch is for CUDA, too
        known.define(f"{name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
    from torchvision.datasets import ImageFolder

    found = ImageFolder(str(folder / "pictures"), loader=_frame_of)
    loader: Any = DataLoader(found, BATCH, shuffle=True, num_workers=workers, persistent_workers=workers > 0)
    return lambda: (flipped(images) if TIMED else images for images, _ in loader)


def _frame_of(path: str) -> Any:
    import torch

    return torch.from_numpy(PICTURE.frame(Path(path).read_bytes())).float().div_(255)


def _hf(folder: Path, workers: int) -> Epoch:
    import datasets
    from torch.utils.data import DataLoader

    rows: Any = datasets.load_from_disk(str(folder / "hf"))
    kept = {"num_workers": workers, "persistent_workers": workers > 0}
    loader: Any = DataLoader(rows, BATCH, shuffle=True, collate_fn=_of_dicts, **kept)
    return _augmented(loader)


def _of_dicts(rows: list[dict[str, bytes]]) -> Any:
    return _decoded([row["image"] for row in rows])


def _litdata(folder: Path, workers: int) -> Epoch:
    import litdata

    rows = litdata.StreamingDataset(str(folder / "litdata"), shuffle=True)
    return _augmented(litdata.StreamingDataLoader(rows, batch_size=BATCH, num_workers=workers, collate_fn=_decoded))


def _webdataset(folder: Path, workers: int) -> Epoch:
    import webdataset

    shards = str(folder / "webdataset" / "0000.tar")
    rows = webdataset.WebDataset(shards, shardshuffle=False, empty_check=False).shuffle(1000).to_tuple("jpg")
    batches = rows.map(_first).batched(BATCH, collation_fn=_decoded)
    return _augmented(webdataset.WebLoader(batches, batch_size=None, num_workers=workers))


def _first(row: tuple[bytes]) -> bytes:
    return row[0]


def _own_tokens(folder: Path) -> Epoch:
    loader = SnapshotSplits(data.home(folder), _snapshot(folder, "tokens")).loader("train", BATCH, pad={"tokens": 0})
    return lambda: ((inputs["tokens"], inputs["tokens_mask"]) for inputs, _ in loader)


def _list(folder: Path) -> Epoch:
    """A list of tensors in memory, and a stock DataLoader."""
    import torch
    from torch.utils.data import DataLoader

    rows = [torch.from_numpy(row) for row in data.tokens(int((folder / "texts").read_text()))]
    loader = DataLoader(rows, BATCH, shuffle=True, collate_fn=_padded)  # type: ignore[arg-type]
    return lambda: loader


def _padded(rows: list[Any]) -> Any:
    import torch
    from torch.nn.utils.rnn import pad_sequence

    padded = pad_sequence(rows, batch_first=True)
    sizes = torch.tensor([len(row) for row in rows])
    return padded, (torch.arange(padded.shape[1]) < sizes[:, None]).long()


TIMED = len(sys.argv) > 3 and sys.argv[3] == "time"
PICTURES: dict[str, Side] = {
    "airloom": _own,
    "floor": _floor,
    "imagefolder, 2 workers": partial(_image_folder, workers=2),
    **{
        f"{name}, {workers} workers": partial(side, workers=workers)
        for name, side in (("hf", _hf), ("litdata", _litdata), ("webdataset", _webdataset))
        for workers in (0, 2)
        if (name, workers) != ("webdataset", 2)  # one file of it cannot be shared
    },
}
TOKENS: dict[str, Side] = {"padded": _own_tokens, "list": _list}


def _snapshot(folder: Path, dataset: str) -> Snapshot:
    return Snapshot.from_dict(json.loads((folder / "snapshots.json").read_text())[dataset])


def _digest(batches: Iterable[Any]) -> dict[str, float]:
    """Of all rows, in any order."""
    total = rows = 0
    for batch in batches:
        for row in _rows(batch):
            total ^= int.from_bytes(hashlib.blake2b(row, digest_size=6).digest(), "little")
            rows += 1
    return {"rows": rows, "digest": total}


def _rows(batch: Any) -> Iterator[bytes]:
    if isinstance(batch, tuple | list):
        for row, mask in zip(*batch, strict=True):
            yield row[mask.bool()].numpy().tobytes()
        return
    pixels = batch if isinstance(batch, np.ndarray) else (batch * 255).round().byte().numpy()
    for picture in pixels:
        yield picture.tobytes()


def main(folder: Path, side: str, what: str) -> None:
    """Print the digest of an epoch, or what a second one costs, and what the first one did.

    The first one imports, opens, starts workers, reads files into the page cache and, on our side, compares each
    shard with its digest; a training has many epochs.
    """
    import torch

    torch.set_num_threads(1)
    if what == "digest":
        print(json.dumps(_digest((PICTURES | TOKENS)[side](folder)())))
        return
    began = _now()
    epoch = (PICTURES | TOKENS)[side](folder)
    _consume(epoch)
    gc.collect()
    first = _now()
    _consume(epoch)
    spent = _now() - first
    print(json.dumps({"cpu": spent.cpu, "wall": spent.wall, "first_cpu": (first - began).cpu}))


def _consume(epoch: Epoch) -> None:
    for _ in epoch():
        pass


def _now() -> Cost:
    """The clocks, with the CPU of workers that live on."""
    alive = [child.cpu_times() for child in psutil.Process().children(recursive=True)]
    return now() + Cost(sum(times.user + times.system for times in alive))


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2], sys.argv[3])
