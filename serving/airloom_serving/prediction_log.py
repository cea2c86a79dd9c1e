"""The prediction log: one JSON line a prediction, written behind the answers."""

import json
import logging
import queue
import threading
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

log = logging.getLogger(__name__)
CAPACITY = 100_000
END = None


class PredictionLog:
    """Takes records without ever waiting; a thread writes them to `folder/<date>.jsonl`.

    When the disk cannot follow, records are dropped and counted in `dropped`.
    """

    def __init__(self, folder: Path) -> None:
        self.dropped = 0
        self._folder = folder
        self._queue: queue.Queue[dict[str, Any] | None] = queue.Queue(CAPACITY)
        self._thread = threading.Thread(target=self._run, name="prediction-log", daemon=True)

    def start(self) -> None:
        """Begin to write."""
        self._folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._thread.start()

    def stop(self) -> None:
        """Write what is queued, then end."""
        self._queue.put(END)
        self._thread.join(timeout=10)

    def add(self, record: dict[str, Any]) -> None:
        """Queue a record; never blocks."""
        try:
            self._queue.put_nowait(record)
        except queue.Full:
            self.dropped += 1

    def _run(self) -> None:
        while True:
            batch = [self._queue.get()]
            while len(batch) < 1000 and not self._queue.empty():
                batch.append(self._queue.get_nowait())
            records = [record for record in batch if record is not END]
            try:
                self._write(records)
            except OSError as error:
                self.dropped += len(records)
                log.error("predictions were not logged: %s", error)
            if END in batch:
                return

    def _write(self, records: list[dict[str, Any]]) -> None:
        if records:
            lines = "".join(json.dumps(record) + "\n" for record in records)
            with (self._folder / f"{datetime.now(UTC):%Y-%m-%d}.jsonl").open("a") as file:
                file.write(lines)
