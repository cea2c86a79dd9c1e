"""Deadlines of what is waited for from outside: one timer for all, since one for each costs more than most of them."""

import asyncio
from collections.abc import Callable


class Clock:
    """Tells those that take too long. For one event loop.

    Args:
        seconds: that each may take.
    """

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._waiting: dict[object, tuple[float, Callable[[], None]]] = {}  # since when, by the loop's clock; in turn
        self._timer: asyncio.TimerHandle | None = None

    def begin(self, who: object, late: Callable[[], None]) -> None:
        """It is waited for from now on, where it was not before; `late` is called when its time is over."""
        if who in self._waiting:
            return
        loop = asyncio.get_running_loop()
        self._waiting[who] = loop.time(), late
        if self._timer is None:
            self._timer = loop.call_later(self._seconds, self._look)

    def end(self, who: object) -> None:
        """It came, or nobody waits for it any more."""
        self._waiting.pop(who, None)

    def __len__(self) -> int:
        """How many are waited for."""
        return len(self._waiting)

    def _look(self) -> None:
        loop = asyncio.get_running_loop()
        due = loop.time() - self._seconds
        for who, late in [(who, late) for who, (began, late) in self._waiting.items() if began <= due]:
            self.end(who)
            late()
        oldest = next((began for began, _ in self._waiting.values()), None)
        self._timer = None if oldest is None else loop.call_at(oldest + self._seconds, self._look)
