"""Everything in memory: torch's stock DataLoader, and the floor that no loader can be below."""

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any

from benchmarks._datasets.ours import BATCH
from benchmarks._datasets.reading import Variant

Batch = tuple[Any, Any]


def image_variants(images: Any, labels: Any) -> list[Variant]:
    """Stock `TensorDataset`, 0 and 2 workers; and a bare gather, without any loader."""
    import torch
    from torch.utils.data import DataLoader, TensorDataset

    pixels, classes = torch.from_numpy(images), torch.from_numpy(labels)
    data = TensorDataset(pixels, classes)

    def floor() -> Iterator[Batch]:
        for rows in torch.randperm(len(pixels)).split(BATCH):
            yield pixels.index_select(0, rows), classes.index_select(0, rows)

    return [
        Variant("gather floor: index_select in memory", "floor", "full", floor),
        *(
            Variant(
                f"torch DataLoader(TensorDataset), {workers} workers",
                "tensordataset",
                "full",
                partial(DataLoader, data, BATCH, shuffle=True, num_workers=workers),
            )
            for workers in (0, 2)
        ),
    ]


def list_variants(values: Sequence[Any], labels: Any) -> list[Variant]:
    """A list of (value, label) behind a stock DataLoader, 0 and 2 workers, torch's collate and a leaner one.

    The list with `__getitems__` is not stock: a row for comparison only.
    """
    from torch.utils.data import DataLoader

    samples = list(zip(values, labels.tolist(), strict=True))

    def variant(name: str, data: Any, workers: int = 0, collate: Callable[[Any], Any] | None = None) -> Variant:
        make = partial(DataLoader, data, BATCH, shuffle=True, num_workers=workers, collate_fn=collate)
        return Variant(name, "list" if data is samples else "batched list", "full", make)

    return [
        variant("list, torch DataLoader, own collate, 0 workers", samples, 0, collate),
        variant("list, torch DataLoader, own collate, 2 workers", samples, 2, collate),
        variant("list, torch DataLoader, default collate, 0 workers", samples),
        variant("list with __getitems__, torch DataLoader, own collate", Batched(samples), 0, collate),
    ]


class Batched:
    """A list that yields a batch by one call, which the stock DataLoader asks for where it can."""

    def __init__(self, samples: list[Any]) -> None:
        self._samples = samples

    def __len__(self) -> int:
        return len(self._samples)

    def __getitem__(self, place: int) -> Any:
        return self._samples[place]

    def __getitems__(self, places: list[int]) -> list[Any]:
        samples = self._samples
        return [samples[place] for place in places]


def collate(samples: list[Any]) -> Batch:
    """The values as a list, the labels as a tensor."""
    import torch

    values, labels = zip(*samples, strict=True)
    return list(values), torch.tensor(labels)
