"""Counts requests and errors by model version, role and minute; a thread of its own gives them to the model metrics."""

import logging
import threading
import time
import uuid
from collections import Counter
from collections.abc import Callable

from airloom.errors import InstancesRefused
from airloom.inference.model import Ended, NotFinite
from airloom.monitoring.metric_counts import MINUTE, ROLES, SERVERS, Batch, Cell, Counts, Place
from airloom.monitoring.metric_store import give
from airloom_serving.served import Busy, ServedModel, TookTooLong

log = logging.getLogger(__name__)
EVERY = 10.0  # seconds between two writes
LOCKED = 5.0  # seconds that a write waits for another writer of SQLite
_KINDS = ((NotFinite, "not finite"), (InstancesRefused, "refused"), (Busy, "busy"), (TookTooLong | Ended, "too slow"))


class RequestMinutes:
    """Counts in memory, under a lock that is held for an addition.

    What is written is a batch with a name, so that a write which is done again, because its answer was lost, counts
    nothing twice. A database that is away delays the writing and loses nothing; a process that is killed loses the
    requests of its last seconds.

    Args:
        address: of the database; empty: nothing is counted here.
        tell: whoever else counts each request, with its model, role and kind of error.
    """

    def __init__(self, address: str, tell: Callable[[ServedModel, str, str], None] | None = None) -> None:
        self._tell = tell
        self._address, self._writer, self._written = address, uuid.uuid4().hex, 0
        self._counts: Counter[tuple[str, str, str, int, str]] = Counter()
        self._batch: Batch | None = None  # that is on its way
        self._problem = ""
        self._lock, self._stop = threading.Lock(), threading.Event()
        self._thread = threading.Thread(target=self._run, name="request-minutes", daemon=True)

    def start(self) -> None:
        """Begin to write."""
        self._thread.start()

    def stop(self) -> None:
        """Write what is left, if the database lets us, then end."""
        self._stop.set()
        self._thread.join(timeout=3 * LOCKED)

    def add(self, model: ServedModel, role: str, error: str = "") -> None:
        """Count a request, and what kind of error it ended with; never waits for a disk or a network."""
        role = role or ROLES[0]
        if self._tell is not None:
            self._tell(model, role, error)
        if not self._address:
            return
        which = model.name, model.version, role, int(time.time()) // MINUTE * MINUTE, error
        with self._lock:
            self._counts[which] += 1

    def request(self, model: ServedModel, role: str) -> "Counted":
        """Count a request as it ends; one whose client has gone away is not counted."""
        return Counted(self, model, role)

    def flush(self) -> bool:
        """Write what was counted; False where that failed, and it stays to be written."""
        waited = self._batch is not None
        return self._give() and (not waited or self._give())  # one from before, then what came since

    def _give(self) -> bool:
        self._batch = batch = self._batch or self._taken()
        if batch is None:
            return True
        try:
            give(self._address, batch, LOCKED)
        except Exception as error:
            # A database is away in many ways, and none of them may end the counting.
            reason = (str(error) or repr(error)).splitlines()[0][:300]
            if not self._problem:
                log.warning("the counts of requests are kept until the database answers: %s", reason)
            self._problem = reason
            return False
        self._batch, self._problem = None, ""
        return True

    def _taken(self) -> Batch | None:
        with self._lock:
            taken, self._counts = self._counts, Counter()
        counts: Counts = {}
        for (model, version, role, minute, error), requests in taken.items():
            cell = counts.setdefault(Place(model, version, role, minute), Cell())
            cell.add(Cell(requests, errors={error: requests} if error else {}))
        self._written += 1
        return Batch(f"{self._writer}-{self._written}", SERVERS, counts) if counts else None

    def _run(self) -> None:
        while not self._stop.wait(EVERY):
            self.flush()
        self.flush()


class Counted:
    """A request that is counted as it ends; a generator for each would cost three times as much."""

    __slots__ = ("_minutes", "_model", "_role")

    def __init__(self, minutes: RequestMinutes, model: ServedModel, role: str) -> None:
        self._minutes, self._model, self._role = minutes, model, role

    def __enter__(self) -> None:
        """It begins."""

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        """It has ended."""
        if error is None:
            self._minutes.add(self._model, self._role)
        elif isinstance(error, Exception):
            name = next((name for kind, name in _KINDS if isinstance(error, kind)), "failed")
            self._minutes.add(self._model, self._role, name)
