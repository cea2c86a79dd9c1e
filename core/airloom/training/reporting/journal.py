"""What a training reported, in a file of its own, before anything else learns of it."""

import json
import logging
import os
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class JournalEntry:
    """The metrics of one report.

    Attributes:
        step: as reported.
        time: of the report, milliseconds since 1970.
        metrics: numbers by name.
        end: offset in the file behind this entry.
    """

    step: int
    time: int
    metrics: dict[str, float]
    end: int = 0


class Journal:
    """An append-only file of JSON lines that survives the process.

    A line that a crash left unfinished is dropped. A metric that stands there for a step is not taken again, so that a
    training that repeats steps after a crash reports each once. Where the disk is full, entries wait in memory.

    Attributes:
        last: the newest value of each metric.
        end: offset behind the last entry.
        waiting: entries that the disk has not taken.
    """

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._path = path
        self._file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        self.last: dict[str, float] = {}
        self._seen: set[tuple[str, int]] = set()
        self.waiting: list[JournalEntry] = []
        self.end = 0
        for entry in self.entries(0):
            self._take(entry)
            self.end = entry.end
        if os.fstat(self._file).st_size > self.end:
            log.warning("the last line of %s was never finished, and is dropped", path)
            os.ftruncate(self._file, self.end)

    def add(self, step: int, metrics: dict[str, float]) -> dict[str, float]:
        """Write a report; returns the metrics that were new."""
        new = {name: value for name, value in metrics.items() if (name, step) not in self._seen}
        if new:
            entry = JournalEntry(step, int(time.time() * 1000), new)
            self._take(entry)
            self.waiting.append(entry)
            self._write()
        return new

    def sync(self) -> None:
        """Force everything to the disk."""
        self._write()
        try:
            os.fsync(self._file)
        except OSError as error:
            log.warning("%s cannot be forced to the disk: %s", self._path, error)

    def entries(self, start: int) -> Iterator[JournalEntry]:
        """The complete entries from an offset on; what stands behind a line that is none is not read."""
        with self._path.open("rb") as file:
            file.seek(start)
            for line in file:
                start += len(line)
                entry = _parse(line, start)
                if entry is None:
                    return
                yield entry

    def close(self) -> None:
        """No more reports."""
        self.sync()
        os.close(self._file)

    def _take(self, entry: JournalEntry) -> None:
        self.last |= entry.metrics
        self._seen.update((name, entry.step) for name in entry.metrics)

    def _write(self) -> None:
        while self.waiting:
            entry = self.waiting[0]
            line = (json.dumps({"step": entry.step, "time": entry.time, "metrics": entry.metrics}) + "\n").encode()
            try:
                written = os.pwrite(self._file, line, self.end)
            except OSError as error:
                written = 0
                log.warning("%s cannot be written: %s; %d reports wait", self._path, error, len(self.waiting))
            if written < len(line):  # the next write begins at the same place, over what there is of this one
                return
            self.end += len(line)
            self.waiting.pop(0)


def _parse(line: bytes, end: int) -> JournalEntry | None:
    if not line.endswith(b"\n"):
        return None
    try:
        values = json.loads(line)
        metrics = {str(name): float(value) for name, value in values["metrics"].items()}
        return JournalEntry(int(values["step"]), int(values["time"]), metrics, end)
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return None
