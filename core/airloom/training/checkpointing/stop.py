"""The request to end: SIGTERM. A loop notices it between two steps, saves, and ends."""

import logging
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

from airloom.errors import StoppedByRequest

log = logging.getLogger(__name__)


class Stop:
    """Whether the training was asked to end.

    Attributes:
        requested: SIGTERM came.
        in_loop: a loop looks at `requested`. Outside of one nothing would, so there the signal ends it at once.
    """

    def __init__(self) -> None:
        self.requested = False
        self.in_loop = False

    @contextmanager
    def listening(self) -> Iterator[None]:
        """Take SIGTERM within the block. Only the main thread can; in another one nothing changes."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        before = signal.signal(signal.SIGTERM, self._on_signal)
        try:
            yield
        finally:
            signal.signal(signal.SIGTERM, before)

    def _on_signal(self, _signal: int, _frame: FrameType | None) -> None:
        if self.requested:  # torchrun sends it again to each rank; nothing shall interrupt the saving
            return
        self.requested = True
        log.info("asked to end: %s", "saving after this step" if self.in_loop else "ending at once")
        if not self.in_loop:
            raise StoppedByRequest("stopped on request, outside the training's loop", GOES_ON)


GOES_ON = "a job that was stopped goes on from the newest checkpoint; one that was cancelled begins at step 0"
