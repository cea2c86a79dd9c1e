"""What a training asks of its data, wherever they come from."""

from typing import Any, Protocol

from airloom.pictures import Picture
from airloom.processing import Processing


class Source(Protocol):
    """Splits by name."""

    def tensors(self, split: str) -> "tuple[Any, Any]":
        """Inputs and labels, whole."""

    def dataset(self, split: str) -> Any:
        """A map-style dataset of torch."""

    def loader(self, split: str, batch_size: int, **options: Any) -> Any:
        """Batches, with `state_dict`, `load_state_dict` and `set_epoch`."""

    def table(self, split: str) -> Any:
        """An Arrow table, where `tensors` gives no single tensor of inputs."""

    @property
    def classes(self) -> list[str]:
        """The names of the classes in the order of the labels' numbers; [] where labels are no classes."""

    def declare(self, processing: Processing) -> Processing:
        """The processing of a model of these data, with what the data say of their classes and ranges."""

    def empty_columns(self) -> list[str]:
        """The input columns of numbers with an empty cell, which `tensors` gives as NaN."""

    def framed(self, picture: Picture) -> "Source":
        """The same rows, their picture files as float32 (n, *picture.shape), 0..1."""


class Around:
    """A source that stands around another, and passes on what it does not change.

    Args:
        source: the other.
    """

    def __init__(self, source: Source) -> None:
        self._source = source

    def dataset(self, split: str) -> Any:
        """See `Source`."""
        return self._source.dataset(split)

    def table(self, split: str) -> Any:
        """See `Source`."""
        return self._source.table(split)

    @property
    def classes(self) -> list[str]:
        """See `Source`."""
        return self._source.classes

    def declare(self, processing: Processing) -> Processing:
        """See `Source`."""
        return self._source.declare(processing)

    def empty_columns(self) -> list[str]:
        """See `Source`."""
        return self._source.empty_columns()
