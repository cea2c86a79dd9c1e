"""litdata: chunks written by its `optimize`, read by its StreamingDataLoader."""

import os
import subprocess
import sys
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks._datasets.ours import BATCH
from benchmarks._datasets.reading import Variant
from benchmarks._report import PROJECT

SIDE = "litdata"
CHUNKS = "64MB"
os.environ["DISABLE_VERSION_CHECK"] = "1"  # it would ask the package index at each import


def variants(folder: Path, images: Any, labels: Any) -> list[Variant]:
    """Samples of bytes, which it reads much faster than tensors, with an own collate; 0 and 2 workers."""
    import litdata

    np.savez(folder / "source.npz", images=images.reshape(len(images), -1), labels=labels)
    # Apart, as `optimize` makes the whole process start its later workers by spawn, which is slower.
    code = "import sys; from benchmarks._datasets import peer_litdata as peer; peer.write(*sys.argv[1:])"
    for form in FORMS:
        subprocess.run([sys.executable, "-c", code, str(folder), form], check=True, cwd=PROJECT)
    (folder / "source.npz").unlink()

    def epoch(form: str, workers: int) -> Any:
        data = litdata.StreamingDataset(str(folder / form), shuffle=True)
        return litdata.StreamingDataLoader(data, batch_size=BATCH, num_workers=workers, collate_fn=FORMS[form][1])

    return [
        Variant(f"litdata, {form}, {workers} workers", SIDE, "window", partial(epoch, form, workers))
        for form in FORMS
        for workers in (0, 2)
    ]


def write(folder: str, form: str) -> None:
    """Convert the source, in a process of its own."""
    import litdata

    with np.load(Path(folder) / "source.npz") as source:
        images, labels = source["images"], source["labels"].astype("<i8")
    litdata.optimize(
        fn=partial(FORMS[form][0], images, labels),
        inputs=list(range(len(images))),
        output_dir=str(Path(folder) / form),
        chunk_bytes=CHUNKS,
        num_workers=1,
        start_method="fork",
        verbose=False,
    )


def _pair(images: Any, labels: Any, row: int) -> dict[str, Any]:
    return {"image": images[row].tobytes(), "label": int(labels[row])}


def _packed(images: Any, labels: Any, row: int) -> bytes:
    return bytes(images[row].tobytes() + labels[row].tobytes())


def _pairs(samples: list[dict[str, Any]]) -> tuple[Any, Any]:
    import torch

    pixels = torch.frombuffer(bytearray().join([sample["image"] for sample in samples]), dtype=torch.uint8)
    return pixels.view(-1, 3, 32, 32), torch.tensor([sample["label"] for sample in samples])


def unpack(samples: list[bytes]) -> tuple[Any, Any]:
    """Images and labels of samples that hold the label behind the image."""
    import torch

    rows = np.frombuffer(bytearray().join(samples), np.uint8).reshape(len(samples), -1)
    labels = np.ascontiguousarray(rows[:, -8:]).view("<i8").reshape(-1)
    return torch.from_numpy(rows[:, :-8].reshape(-1, 3, 32, 32)), torch.from_numpy(labels)


FORMS = {"a dict of bytes and label": (_pair, _pairs), "bytes with the label in them": (_packed, unpack)}
