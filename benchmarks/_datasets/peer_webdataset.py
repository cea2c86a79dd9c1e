"""webdataset: tar files, shuffled by shard and within a buffer."""

from functools import partial
from pathlib import Path
from typing import Any

from benchmarks._datasets.ours import BATCH
from benchmarks._datasets.peer_litdata import unpack
from benchmarks._datasets.reading import Variant

SIDE = "webdataset"
BUFFER = 2000  # samples
SHARD = 10_000  # samples, 31 MB


def variants(folder: Path, images: Any, labels: Any) -> list[Variant]:
    """A sample as two members, as its manual has it, and as one member, which is twice as fast; 0 and 2 workers."""
    import webdataset

    with (
        webdataset.ShardWriter(str(folder / "two-%04d.tar"), maxcount=SHARD, verbose=0) as two,
        webdataset.ShardWriter(str(folder / "one-%04d.tar"), maxcount=SHARD, verbose=0) as one,
    ):
        for row, (image, label) in enumerate(zip(images, labels.astype("<i8"), strict=True)):
            key = {"__key__": f"{row:08d}"}
            two.write({**key, "bin": image.tobytes(), "cls": str(int(label))})
            one.write({**key, "bin": image.tobytes() + label.tobytes()})

    def epoch(form: str, workers: int) -> Any:
        names, collate = FORMS[form]
        files = sorted(map(str, folder.glob(f"{form}-*.tar")))
        samples = webdataset.WebDataset(files, shardshuffle=len(files), empty_check=False).shuffle(BUFFER)
        batches = samples.to_tuple(*names).batched(BATCH, collation_fn=collate, partial=True)
        return webdataset.WebLoader(batches, batch_size=None, num_workers=workers)

    return [
        Variant(f"webdataset, {form} member a sample, {workers} workers", SIDE, "buffer", partial(epoch, form, workers))
        for form in FORMS
        for workers in (0, 2)
    ]


def _one(samples: list[tuple[bytes]]) -> tuple[Any, Any]:
    return unpack([sample for (sample,) in samples])


def _two(samples: list[tuple[bytes, bytes]]) -> tuple[Any, Any]:
    import torch

    pixels = torch.frombuffer(bytearray().join([image for image, _ in samples]), dtype=torch.uint8)
    return pixels.view(-1, 3, 32, 32), torch.tensor([int(label) for _, label in samples])


FORMS = {"one": (("bin",), _one), "two": (("bin", "cls"), _two)}
