"""Writes the prediction log in a thread of its own; the form of its files: `airloom.monitoring.prediction_log`."""

import logging
import random
import threading
import time
import uuid
from collections import deque
from collections.abc import Callable, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from airloom.files import replacing
from airloom.monitoring.prediction_log import day, file_name
from airloom.monitoring.segment_merging import WHOLE, Merger, finish
from airloom.monitoring.segment_retention import Limits, expire
from airloom_serving.logged_columns import columns
from airloom_serving.logged_rows import TURN, Answered, turns

log = logging.getLogger(__name__)
CAPACITY = 200_000  # rows that wait
CAPACITY_BYTES = 64 * 2**20  # of their inputs and scores
FILE_ROWS = 100_000
FILE_BYTES = 32 * 2**20
GROUP = 10_000  # rows of a row group: a look for one id reads no more
FILE_SECONDS = 5.0  # a row waits no longer for its file
TICK = 0.25  # seconds between two looks at what waits: a turn of few requests costs each of them three times as much
PAUSE = 0.001  # after each turn: who answers requests gets the interpreter
STALE = 3600.0  # seconds after which a half-written file is one of a killed process
RETAIN_SECONDS = 600.0
_REPEATED = ["model", "version", "prediction", "role", "inputs_by", "top.list.element.class"]  # no dictionary of ids
FORM: dict[str, Any] = {"compression": "zstd", "use_dictionary": _REPEATED, "row_group_size": GROUP}


class PredictionLog:
    """Takes answers without ever waiting; a thread writes them, at most `FILE_ROWS` rows or `FILE_SECONDS` a file.

    Who answers appends to a queue and does no more. The thread makes columns of a few hundred rows at a time, and
    pauses after each: it has the interpreter for about a millisecond. Arrow sorts and writes without it.

    Rows that do not fit into memory or on the disk are dropped and counted. A process that is killed loses the rows
    that are in no file yet, those of its last seconds: the log is a sample for analysis; the counters count.

    Args:
        folder: of the log.
        share: of the predictions that is kept, 0 to 1, chosen at random.
        limits: which files are removed again.
        count_dropped: is told how many rows were dropped.
        count_written: is told how many rows a file has that is there now.
    """

    def __init__(
        self,
        folder: Path,
        share: float = 1.0,
        limits: Limits | None = None,
        *,
        count_dropped: Callable[[int], None] = lambda _: None,
        count_written: Callable[[int], None] = lambda _: None,
    ) -> None:
        self.dropped = 0
        self._folder, self._share, self._limits = folder, share, limits or Limits()
        self._count_dropped, self._count_written = count_dropped, count_written
        self._waiting: deque[Answered] = deque()
        self._added = self._taken = self._added_bytes = self._taken_bytes = 0  # since the start
        self._lock = threading.Lock()  # of what is added and dropped; the thread takes without it
        self._wake, self._written = threading.Event(), threading.Event()
        self._ending = False
        self._merger = Merger()
        self._thread = threading.Thread(target=self._run, name="prediction-log", daemon=True)

    @property
    def waiting(self) -> int:
        """Rows that are not in columns yet."""
        return self._added - self._taken

    def start(self) -> None:
        """Begin to write."""
        self._thread.start()

    def stop(self) -> None:
        """Write what waits, then end."""
        self._ending = True
        self._wake.set()
        self._thread.join(timeout=10)

    def flush(self, seconds: float = 10.0) -> bool:
        """Have what was added so far written now; False where that takes longer."""
        self._written.clear()
        self._wake.set()
        return self._written.wait(seconds)

    def add(self, answered: Answered) -> None:
        """Take the answers to a request; never waits for the disk."""
        if self._share < 1:
            chance = random.random
            answered = answered._replace(places=[n for n in range(len(answered.ids)) if chance() < self._share])
        rows, size = answered.kept, answered.size
        with self._lock:
            fits = self.waiting + rows <= CAPACITY
            if fits and (not size or self._added_bytes - self._taken_bytes + size <= CAPACITY_BYTES):
                self._added += rows
                self._added_bytes += size
                if rows:
                    self._waiting.append(answered)
                return
        self._drop(rows)

    def _drop(self, rows: int) -> None:
        with self._lock:
            self.dropped += rows
        self._count_dropped(rows)

    def _run(self) -> None:
        segment, due, retained = _Segment(), time.monotonic() + FILE_SECONDS, -RETAIN_SECONDS
        self._quietly("swept", lambda: _sweep(self._folder))
        while True:
            woken, passed = self._wake.wait(TICK), False
            if woken:
                self._wake.clear()
            ending = self._ending  # after the wait, which may have ended by itself just before
            woken = woken or ending
            added = self._added  # what a flush waits for
            while True:
                self._fill(segment)
                now = time.monotonic()
                if woken or now >= due or segment.is_full:
                    self._write(segment)
                    segment, due, passed = _Segment(), now + FILE_SECONDS, True
                if not woken or self._taken >= added:
                    break
            if woken:
                self._written.set()
            if now - retained > RETAIN_SECONDS:
                retained = now
                self._quietly("kept within its limits", self._expire)
            if ending:
                return
            if passed:
                self._quietly("merged", lambda: self._merger.merge(self._folder, FORM))

    def _fill(self, segment: "_Segment") -> None:
        """Make columns of what waits, until the file is full of it."""
        while self._waiting and not segment.is_full:
            taken, rows = list[Answered](), 0
            while self._waiting and rows < GROUP and len(taken) < TURN:
                taken.append(self._waiting.popleft())
                rows += taken[-1].kept
            for turn in turns(taken):
                count = sum(part.rows for part in turn)
                try:
                    segment.add(columns(turn))
                except Exception as error:
                    # An answer that fits no column: the log is worth no failing server.
                    self._drop(count)
                    log.error("%d predictions were not logged: %s", count, str(error)[:300])
                self._taken += count
                time.sleep(PAUSE)
            self._taken_bytes += sum(request.size for request in taken)

    def _write(self, segment: "_Segment") -> None:
        if not segment.rows:
            return
        try:
            files = write_batches(self._folder, segment.batches)
        except Exception as error:
            # A full disk, and whatever else a disk can do.
            self._drop(segment.rows)
            log.error("%d predictions were not logged: %s", segment.rows, str(error)[:300])
            return
        self._count_written(segment.rows)
        self._quietly("merged", lambda: self._merger.add(files))

    def _expire(self) -> None:
        finish(self._folder)
        gone = expire(self._folder, self._limits, time.time())
        if gone:
            log.info("%d files of the prediction log, %s to %s, were beyond its limits", len(gone), gone[0], gone[-1])

    def _quietly(self, what: str, action: Callable[[], object]) -> None:
        try:
            action()
        except Exception as error:  # whatever a disk or a damaged file does: the log goes on
            log.error("the prediction log cannot be %s: %s", what, str(error)[:300])


def write(folder: Path, answered: Sequence[Answered]) -> list[Path]:
    """Write these answers, a file for each day that they were given on; returns the files."""
    return write_batches(folder, [columns(turn) for turn in turns(answered)])


def write_batches(folder: Path, batches: Sequence[pa.RecordBatch]) -> list[Path]:
    """Write rows, a file for each day that they were given on: whole, or not to be seen; returns the files."""
    if not batches:
        return []
    table = pa.Table.from_batches(batches).sort_by("id")
    moments = table["time"].cast(pa.int64()).to_numpy()
    starts = np.flatnonzero(np.diff(moments // 86_400_000, prepend=-1)).tolist()
    files = []
    for first, end in pairwise([*starts, len(moments)]):
        place, unique = folder / day(int(moments[first])), uuid.uuid4().hex[:12]
        place.mkdir(parents=True, exist_ok=True, mode=0o700)
        path = place / file_name(int(moments[first]), int(moments[end - 1]), unique)
        with replacing(path, unique) as hidden:
            pq.write_table(table.slice(first, end - first), hidden, **FORM)
        files.append(path)
    return files


class _Segment:
    """What the next file will hold."""

    def __init__(self) -> None:
        self.batches: list[pa.RecordBatch] = []
        self.rows = self.bytes = 0

    def add(self, batch: pa.RecordBatch) -> None:
        self.batches.append(batch)
        self.rows += batch.num_rows
        self.bytes += batch.nbytes

    @property
    def is_full(self) -> bool:
        return self.rows >= FILE_ROWS or self.bytes >= FILE_BYTES


def _sweep(folder: Path) -> None:
    """Remove what killed processes left half-written, and finish what they merged."""
    finish(folder)
    for path in folder.glob("date=*/.*"):
        if not path.name.startswith(WHOLE) and time.time() - path.stat().st_mtime > STALE:
            path.unlink(missing_ok=True)
