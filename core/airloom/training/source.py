"""Where a training's data come from: the splits of a snapshot, or tensors in memory. Both give the same order."""

from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from airloom.contracts import Snapshot
from airloom.datasets.reading import draws
from airloom.datasets.reading.cursor import Cursor, resumed
from airloom.datasets.reading.order import Order, rank_slice
from airloom.errors import ConfigError
from airloom.inputs.observed import ranged
from airloom.inputs.pixels import Pixels
from airloom.pictures import Picture
from airloom.processing import Processing
from airloom.settings import Settings
from airloom.training.framed import Framed
from airloom.training.scaled import scaled
from airloom.training.splits import Source

if TYPE_CHECKING:
    from torch import Tensor


class SnapshotSplits:
    """A snapshot; each split is read once into memory, so that a study's trials share it.

    Args:
        settings: of this installation.
        snapshot: that is read.
        classes: names of the classes in the order of their numbers, where a model has them already; None: those of the
            snapshot. Without a name whole numbers stay as they are.
    """

    def __init__(self, settings: Settings, snapshot: Snapshot, classes: list[str] | None = None) -> None:
        from airloom.datasets.snapshots.snapshot import open_snapshot

        self._open: Callable[[], Any] = lambda: open_snapshot(settings, snapshot).for_model(classes)
        self._kept: dict[str, tuple[Any, Any]] = {}
        self._framed: Framed | None = None

    def tensors(self, split: str) -> tuple[Any, Any]:
        """See `Source`. Images of bytes are scaled to 0..1."""
        if split not in self._kept:
            self._kept[split] = scaled(*self._open().tensors(split))
        return self._kept[split]

    def dataset(self, split: str) -> Any:
        """See `Source`. Values as they are stored."""
        return self._open().split(split)

    def loader(self, split: str, batch_size: int, *, transform: Any = None, **options: Any) -> Any:
        """See `Source`. Scaled as `tensors`, before `transform`."""

        def prepare(inputs: Any, labels: Any) -> Any:
            pair = scaled(inputs, labels)
            return pair if transform is None else transform(*pair)

        return self._open().loader(split, batch_size, transform=prepare, **options)

    def table(self, split: str) -> Any:
        """See `Source`."""
        return self._open().table(split)

    @property
    def classes(self) -> list[str]:
        """See `Source`."""
        return list(self._open().classes)

    def declare(self, processing: Processing) -> Processing:
        """See `Source`. Pixels have a physical range, 0..1; columns of numbers have one that was observed.

        Raises:
            ConfigError: the names that the training function gives are neither the classes nor others for each.
        """
        data = self._open()
        processing = processing.of_classes(data.labels_of_classes)
        if processing.inputs:  # which say each for itself what becomes of pixels
            names = [name for name in ranged(processing.inputs) if _is_number(data.schema, name)]
            seen = {} if processing.observed or not names else _ranges(data, names)
            return processing.model_copy(update={"observed": seen}) if seen else processing
        if data.layout.type == "image" and processing.pixels is None and processing.picture is None:
            return processing.model_copy(update={"pixels": Pixels.UNIT})
        if data.layout.type == "tabular" and not processing.observed:
            ranges = _ranges(data, data.layout.inputs(data.schema))
            return processing.model_copy(update={"observed": ranges})
        return processing

    def empty_columns(self) -> list[str]:
        """See `Source`."""
        return list(self._open().empty_columns)

    def framed(self, picture: Picture) -> "Framed":
        """See `Source`. Kept, so that a study's trials decode the pictures of a split once."""
        if self._framed is None or self._framed.picture != picture:
            self._framed = Framed(self, picture)
        return self._framed


def _ranges(data: Any, names: list[str]) -> dict[str, tuple[float, float]]:
    """The smallest and the largest value of columns in training, where they have some."""
    statistics = data.statistics("train")
    columns = {name: statistics[name] for name in names if "min" in statistics.get(name, {})}
    return {name: (column["min"], column["max"]) for name, column in columns.items()}


def _is_number(schema: Any, name: str) -> bool:
    import pyarrow as pa

    kind = schema.field(name).type if name in schema.names else pa.null()
    return bool(pa.types.is_integer(kind) or pa.types.is_floating(kind))


class TensorSource:
    """Splits in memory, for a notebook or a test: `TensorSource({"train": (x, y), "validation": (x, y)})`.

    Without labels `y` is None.
    """

    def __init__(self, splits: "Mapping[str, tuple[Any, Any]]") -> None:
        self._splits = splits

    def tensors(self, split: str) -> tuple[Any, Any]:
        """See `Source`.

        Raises:
            ConfigError: there is no such split.
        """
        import torch

        if split not in self._splits:
            raise ConfigError(f"there is no split {split!r}", f"there are {', '.join(self._splits)}")
        inputs, labels = self._splits[split]
        return torch.as_tensor(inputs), None if labels is None else torch.as_tensor(labels)

    def dataset(self, split: str) -> Any:
        """See `Source`."""
        from torch.utils.data import TensorDataset

        return TensorDataset(*(part for part in self.tensors(split) if part is not None))

    def loader(self, split: str, batch_size: int, **options: Any) -> "TensorLoader":
        """See `Source`."""
        return TensorLoader(*self.tensors(split), batch_size, **options)

    def table(self, split: str) -> Any:
        """Refuse: tensors in memory are no table.

        Raises:
            ConfigError: always.
        """
        raise ConfigError(f"split {split!r} is tensors in memory, and no table", "use tensors")

    @property
    def classes(self) -> list[str]:
        """See `Source`. Whole numbers are classes up to the largest; tensors name none."""
        every = [labels for _, labels in map(self.tensors, self._splits) if labels is not None and len(labels)]
        whole = [labels for labels in every if not labels.is_floating_point()]
        return [str(number) for number in range(max((int(labels.max()) + 1 for labels in whole), default=0))]

    def declare(self, processing: Processing) -> Processing:
        """See `Source`. Tensors say nothing."""
        return processing

    def empty_columns(self) -> list[str]:
        """None that we know of: tensors have no names."""
        return []

    def framed(self, picture: Picture) -> "Source":
        """Refuse: tensors are no files.

        Raises:
            ConfigError: always.
        """
        message = f"tensors in memory are no picture files to be brought to {picture.height} x {picture.width}"
        raise ConfigError(message, "leave run.pictures out")


class TensorLoader:
    """Batches of tensors in memory, in the order and with the state of `airloom.datasets.reading.loader.Loader`.

    Args:
        inputs: (N, …), on any device.
        labels: (N, …), or None.
        batch_size: rows of a global batch, all ranks together.
        seed: of the order.
        shuffle: False: rows in their order.
        rank: this process among `world_size`.
        world_size: number of processes that share each batch.
        drop_last: leave out the last, smaller batch.
        transform: called with (inputs, labels) of each batch; what it returns is yielded.

    Raises:
        ConfigError: the batches would have no row.
    """

    def __init__(
        self,
        inputs: "Tensor",
        labels: "Tensor | None",
        batch_size: int,
        *,
        seed: int = 0,
        shuffle: bool = True,
        rank: int = 0,
        world_size: int = 1,
        drop_last: bool = False,
        transform: Callable[[Any, Any], Any] | None = None,
    ) -> None:
        if batch_size < 1:
            raise ConfigError(f"batch_size is {batch_size}", "give at least 1 row")
        self._inputs, self._labels, self.batch_size = inputs, labels, batch_size
        self._order = Order(len(inputs), shuffle)
        self._rank, self._world_size, self._transform = rank, world_size, transform
        self.rows = len(inputs) - len(inputs) % batch_size if drop_last else len(inputs)
        self._cursor = Cursor("tensors", seed)

    def __len__(self) -> int:
        """Batches of an epoch."""
        return (self.rows + self.batch_size - 1) // self.batch_size

    def state_dict(self) -> dict[str, Any]:
        """Where the newest batch ends, the same on all ranks."""
        return self._cursor.state()

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Begin the next `iter()` where a saved state ends, at any number of ranks."""
        self._cursor = resumed(state, "tensors", len(self._inputs))

    def set_epoch(self, epoch: int) -> None:
        """Begin the next `iter()` with this epoch."""
        self._cursor = Cursor("tensors", self._cursor.seed, epoch)

    def __iter__(self) -> Iterator[Any]:
        import torch

        seed, epoch, begin = self._cursor.seed, self._cursor.epoch, self._cursor.position
        while begin < self.rows:
            stop = min(begin + self.batch_size, self.rows)
            own = rank_slice(self._order.positions(seed, epoch, begin, stop), self._rank, self._world_size)
            chosen = np.sort(own)  # as Loader, and read forward
            index = torch.from_numpy(chosen).to(self._inputs.device)
            self._cursor = Cursor("tensors", seed, epoch, stop)
            labels = None if self._labels is None else self._labels.index_select(0, index)
            inputs = self._inputs.index_select(0, index)
            draws.at(draws.Place(seed, epoch, own))
            yield (inputs, labels) if self._transform is None else self._transform(inputs, labels)
            begin = stop
        self._cursor = Cursor("tensors", seed, epoch + 1)
