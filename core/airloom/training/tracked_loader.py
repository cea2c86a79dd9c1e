"""The loader that a training function gets."""

from collections.abc import Iterator
from typing import Any

from airloom.training.checkpointing.progress import Progress


class TrackedLoader:
    """A loader whose place, where it is the training's own, is part of the checkpoints.

    Attributes:
        plain: the loader itself.
    """

    def __init__(self, loader: Any, progress: Progress | None) -> None:
        self.plain, self._progress = loader, progress

    def __iter__(self) -> Iterator[Any]:
        return iter(self.plain) if self._progress is None else self._progress.batches(self.plain)

    def __len__(self) -> int:
        return len(self.plain)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.plain, name)
