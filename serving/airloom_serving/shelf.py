"""Which models stay in memory, where not all of them may: those asked for last, and those that are pinned."""

import ctypes
import logging
import time
from collections.abc import Collection, Mapping
from contextlib import suppress

from airloom_serving.served import ServedModel

log = logging.getLogger(__name__)


class Shelf:
    """The room for models.

    Args:
        room: bytes of files that the loaded models may have together; 0: all of them are loaded, and stay.
        pinned: names of models that are loaded at the start and stay.
    """

    def __init__(self, room: int, pinned: Collection[str] = ()) -> None:
        self.room, self.pinned = room, frozenset(pinned)
        self._used: dict[str, float] = {}  # by name, when it was asked last

    def used(self, name: str) -> None:
        """A model is asked."""
        self._used[name] = time.monotonic()

    def stays(self, name: str) -> bool:
        """Whether a model is loaded before anybody asks it."""
        return not self.room or name in self.pinned

    def too_many(self, models: Mapping[str, ServedModel], needed: Collection[str]) -> list[str]:
        """The names of models that have to go, so that the others have room: those that were asked longest ago first.

        Args:
            models: that are loaded.
            needed: names of those that stay even where they alone are larger than the room.
        """
        if not self.room:
            return []
        taken = sum(model.size for model in models.values())
        gone = []
        for name in sorted(models, key=lambda name: self._used.get(name, 0.0)):
            if taken <= self.room:
                break
            if name not in needed and name not in self.pinned:
                taken -= models[name].size
                gone.append(name)
        return gone


def give_back() -> None:
    """Have the C library return to the system what dropped models had; without it the process keeps it."""
    with suppress(OSError, AttributeError):  # another C library
        ctypes.CDLL(None).malloc_trim(0)
