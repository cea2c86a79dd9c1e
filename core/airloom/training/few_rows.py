"""A few rows of each split: enough for one whole batch and the last, smaller one."""

from collections.abc import Iterator
from itertools import islice
from typing import Any

import numpy as np

from airloom.pictures import Picture
from airloom.training.framed import Framed
from airloom.training.scaled import scaled
from airloom.training.splits import Around, Source

BATCHES = 2


class FewRows(Around):
    """Another source, cut down. The rows are spread over the split, as neighbours may all have one label.

    Args:
        source: of the whole splits.
        size: rows of a batch.
    """

    def __init__(self, source: Source, size: int) -> None:
        super().__init__(source)
        self._size = size

    def tensors(self, split: str) -> tuple[Any, Any]:
        """See `Source`; of a snapshot only these rows are read."""
        data, chosen = self._source.dataset(split), self._chosen(split)
        if hasattr(data, "collate"):
            return scaled(*data.collate(data.columns(chosen)))
        inputs, labels = self._source.tensors(split)
        return _taken(inputs, chosen), _taken(labels, chosen)

    def dataset(self, split: str) -> Any:
        """See `Source`."""
        return _FewSamples(self._source.dataset(split), self._chosen(split))

    def loader(self, split: str, batch_size: int, **options: Any) -> Any:
        """See `Source`."""
        return _FewBatches(self._source.loader(split, batch_size, **options))

    def table(self, split: str) -> Any:
        """See `Source`."""
        return self._source.table(split).take(self._chosen(split))

    def framed(self, picture: Picture) -> Framed:
        """See `Source`."""
        return Framed(self, picture)

    def _chosen(self, split: str) -> Any:
        rows = len(self._source.dataset(split))
        return self.spread(rows, self._size + (rows % self._size or self._size))

    @staticmethod
    def spread(rows: int, most: int) -> Any:
        """At most so many positions, int64, in order and evenly over the rows."""
        count = min(rows, most)
        return np.arange(count) * rows // max(1, count)


class _FewSamples:
    """A map-style dataset, cut down; everything else is the dataset's own."""

    def __init__(self, data: Any, chosen: Any) -> None:
        self._data, self._chosen = data, chosen.tolist()

    def __len__(self) -> int:
        return len(self._chosen)

    def __getitem__(self, position: int) -> Any:
        return self._data[self._chosen[position]]

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):  # `__getitems__` would take rows that are not among the few
            raise AttributeError(name)
        return getattr(self._data, name)


class _FewBatches:
    """The first batches of a loader; everything else is the loader's own."""

    def __init__(self, loader: Any) -> None:
        self._loader = loader

    def __iter__(self) -> Iterator[Any]:
        return islice(iter(self._loader), BATCHES)

    def __len__(self) -> int:
        return min(BATCHES, len(self._loader))

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        value = getattr(self._loader, name)
        return min(value, BATCHES * self._loader.batch_size) if name == "rows" else value


def _taken(part: Any, chosen: Any) -> Any:
    if part is None:
        return None
    if isinstance(part, dict):
        return {name: _taken(cells, chosen) for name, cells in part.items()}
    return [part[place] for place in chosen.tolist()] if isinstance(part, list) else part[chosen]
