"""The progress line: how far, how fast, how long still."""

import logging
import time

EVERY = 10.0  # seconds between two lines within an epoch
log = logging.getLogger(__name__)


class Pulse:
    """Says now and then where the training stands.

    Args:
        epochs: in all.
        batches: of an epoch, where that is known.
        quiet: this rank says nothing.
    """

    def __init__(self, epochs: int, batches: int | None, quiet: bool) -> None:
        self._epochs, self._batches, self._quiet = epochs, batches, quiet
        self._began = self._last_line = time.monotonic()
        self._first: tuple[float, int] | None = None

    def began(self, epoch: int, batch: int, rows: int) -> None:
        """An epoch begins; the first one is where this attempt begins, before which nothing counts for its speed."""
        if self._first is None:
            self._first = self._done(epoch, batch), rows

    def due(self) -> bool:
        """Whether to say something within the epoch."""
        now = time.monotonic()
        if self._quiet or now - self._last_line < EVERY:
            return False
        self._last_line = now
        return True

    def within(self, epoch: int, batch: int, rows: int, loss: float) -> None:
        """Log a line within an epoch.

        Args:
            epoch: from 0.
            batch: batches of the epoch that are done.
            rows: that all ranks trained on.
            loss: mean of the epoch so far.
        """
        whole = f"/{self._batches}" if self._batches else ""
        place = f"epoch {epoch + 1}/{self._epochs}, batch {batch}{whole}, train_loss {loss:.4f}"
        log.info("%s, %s", place, self._speed(rows, self._done(epoch, batch)))

    def after(self, epoch: int, rows: int, metrics: dict[str, float]) -> None:
        """A line after an epoch."""
        if self._quiet:
            return
        self._last_line = time.monotonic()
        values = ", ".join(f"{name} {value:.4f}" for name, value in metrics.items())
        log.info("epoch %d/%d: %s, %s", epoch + 1, self._epochs, values, self._speed(rows, epoch + 1.0))

    def _done(self, epoch: int, batch: int) -> float:
        return epoch + (batch / self._batches if self._batches else 0)

    def _speed(self, rows: int, done: float) -> str:
        first, first_rows = self._first or (0.0, 0)
        seconds = max(time.monotonic() - self._began, 1e-9)
        left = seconds / max(done - first, 1e-9) * (self._epochs - done)
        return f"{(rows - first_rows) / seconds:,.0f} samples/s, {duration(left)} left"


def duration(seconds: float) -> str:
    """`42 s`, `3 min 20 s`, `2 h 5 min`."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600} h {whole % 3600 // 60} min"
