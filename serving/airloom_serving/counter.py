"""Counts answered predictions by model version, and writes the totals in a thread of its own."""

import logging
import threading
import time
import uuid

from airloom.monitoring.counts import Total, write

log = logging.getLogger(__name__)
EVERY = 1.0  # seconds between two writes
LOCKED = 5.0  # seconds that a write waits for another writer of SQLite


class PredictionCounter:
    """Counts in memory, under a lock that is held for a few additions; a thread writes what changed each second.

    A database that is away delays nothing but the writing: totals are kept and written when it answers again. A
    process that is killed loses what it counted since its last write: the answers of about a second, or those since
    the database went away. `stop` writes the rest.
    """

    def __init__(self, address: str) -> None:
        self.problem = ""  # why the last write failed
        self._address = address
        self._writer = uuid.uuid4().hex
        self._totals: dict[tuple[str, str], Total] = {}
        self._changed: set[tuple[str, str]] = set()
        self._lock = threading.Lock()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="prediction-counter", daemon=True)

    def start(self) -> None:
        """Begin to write."""
        self._thread.start()

    def stop(self) -> None:
        """Write what is left, if the database lets us, then end."""
        self._stop.set()
        self._thread.join(timeout=2 * LOCKED)

    def add(self, model: str, version: str, predictions: int) -> None:
        """Count answers; never waits for a disk or a network."""
        now = time.time()
        with self._lock:
            total = self._totals.get((model, version))
            if total is None:
                total = self._totals[model, version] = Total(now)
            total.total += predictions
            total.last = now
            self._changed.add((model, version))

    def flush(self) -> bool:
        """Write the totals that changed; False where that failed, and they stay to be written."""
        with self._lock:
            changed, self._changed = self._changed, set()
            values = {which: self._totals[which].values() for which in changed}
        if not values:
            return True
        try:
            write(self._address, self._writer, values, LOCKED)
        except Exception as error:
            # A database is away in many ways, and none of them may end the counting.
            with self._lock:
                self._changed |= changed
            reason = str(error).splitlines()[0][:300]
            if not self.problem:
                log.warning("the counts of predictions are kept until the database answers: %s", reason)
            self.problem = reason
            return False
        self.problem = ""
        return True

    def _run(self) -> None:
        while not self._stop.wait(EVERY):
            self.flush()
        self.flush()
