"""Writes the prediction log in a thread of its own; the form of its files: `airloom.monitoring.prediction_log`."""

import logging
import random
import threading
import time
import uuid
from collections.abc import Sequence
from itertools import groupby
from pathlib import Path
from typing import Any, NamedTuple

from airloom.monitoring.prediction_log import day, file_name, schema

log = logging.getLogger(__name__)
CAPACITY = 200_000  # rows that wait
FILE_ROWS = 100_000
GROUP = 20_000  # rows of a row group: a look for one id reads no more
FILE_SECONDS = 5.0  # a row waits no longer for its file
LONGEST = 200  # characters of an answer that is a list
STALE = 3600.0  # seconds after which a half-written file is one of a killed process


class Answered(NamedTuple):
    """The answers to one request."""

    model: str
    version: str
    ids: Sequence[str]
    predictions: Sequence[Any]
    latency_ms: float
    rows: int  # of the request, however many of them are kept


class PredictionLog:
    """Takes answers without ever waiting; a thread writes them, at most `FILE_ROWS` rows or `FILE_SECONDS` a file.

    Rows that do not fit into memory or on the disk are dropped and counted in `dropped`. A process that is killed loses
    the rows of its last seconds: the log is a sample for analysis; the counters count.

    Args:
        folder: of the log.
        share: of the predictions that is kept, 0 to 1, chosen at random.
    """

    def __init__(self, folder: Path, share: float = 1.0) -> None:
        self.dropped = 0
        self._folder, self._share = folder, share
        self._waiting: list[Answered] = []
        self._rows = 0
        self._changed = threading.Condition()
        self._ending = False
        self._thread = threading.Thread(target=self._run, name="prediction-log", daemon=True)

    def start(self) -> None:
        """Begin to write."""
        self._thread.start()

    def stop(self) -> None:
        """Write what waits, then end."""
        with self._changed:
            self._ending = True
            self._changed.notify()
        self._thread.join(timeout=10)

    def add(self, answered: Answered) -> None:
        """Take the answers to a request; never waits for the disk."""
        if self._share < 1:
            answered = _sampled(answered, self._share)
        answered = answered._replace(predictions=[_short(answer) for answer in answered.predictions])
        rows = len(answered.ids)
        with self._changed:
            if self._rows + rows > CAPACITY:
                self.dropped += rows
            elif rows:
                self._waiting.append(answered)
                self._rows += rows
                if self._rows >= FILE_ROWS:
                    self._changed.notify()

    def _run(self) -> None:
        try:
            _sweep(self._folder)
        except OSError as error:
            log.error("the prediction log cannot be swept: %s", error)
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._ending or self._rows >= FILE_ROWS, FILE_SECONDS)
                taken, rows, ending = self._waiting, self._rows, self._ending
                self._waiting, self._rows = [], 0
            try:
                write(self._folder, taken)
            except Exception as error:
                # A full disk, or an answer that fits no column: the log is worth no failing server.
                self.dropped += rows
                log.error("%d predictions were not logged: %s", rows, error)
            if ending:
                return


def write(folder: Path, answered: Sequence[Answered]) -> list[Path]:
    """Write these answers, a file for each day that they were given on; returns the files."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    rows = sorted(row for request in answered for row in _rows(request))
    files = []
    for name, part in groupby(rows, key=lambda row: day(row[1])):
        columns = list(zip(*part, strict=True))
        target = schema()
        arrays = [pa.array(values, field.type) for values, field in zip(columns, target, strict=True)]
        place, unique = folder / name, uuid.uuid4().hex[:12]
        place.mkdir(parents=True, exist_ok=True, mode=0o700)
        hidden = place / f".{unique}"
        try:
            # Ids are all different: a dictionary of them would only be written in vain.
            how = {"compression": "zstd", "use_dictionary": ["model", "version", "prediction"], "row_group_size": GROUP}
            pq.write_table(pa.table(arrays, schema=target), hidden, **how)
            files.append(hidden.rename(place / file_name(columns[1][0], columns[1][-1], unique)))
        finally:
            hidden.unlink(missing_ok=True)
    return files


def _rows(answered: Answered) -> list[tuple[Any, ...]]:
    """A row of the log for each prediction, its columns as `airloom.monitoring.prediction_log` names them."""
    return [
        (
            *(identity, int(identity[:8] + identity[9:13], 16), answered.model, answered.version),
            *(answer if isinstance(answer, str) else repr(answer), _number(answer), answered.latency_ms, answered.rows),
        )
        for identity, answer in zip(answered.ids, answered.predictions, strict=True)
    ]


def _short(answer: Any) -> Any:
    """A mask or a vector would fill memory and log: its beginning says what was answered."""
    if not isinstance(answer, list | dict):
        return answer
    some = repr(answer[:LONGEST] if isinstance(answer, list) else answer)
    return some if len(some) <= LONGEST else f"{some[:LONGEST]}…"


def _number(answer: Any) -> float | None:
    return float(answer) if isinstance(answer, int | float) else None


def _sampled(answered: Answered, share: float) -> Answered:
    places = [place for place in range(len(answered.ids)) if random.random() < share]  # noqa: S311 - no secret
    ids, predictions = ([values[place] for place in places] for values in (answered.ids, answered.predictions))
    return answered._replace(ids=ids, predictions=predictions)


def _sweep(folder: Path) -> None:
    """Remove what killed processes left half-written."""
    for path in folder.glob("date=*/.*"):
        if time.time() - path.stat().st_mtime > STALE:
            path.unlink(missing_ok=True)
