"""Brings the model metrics up to date with the prediction log.

What was counted stands in the store's ledger, in the same transaction as its counts. So an aggregator may be killed at
any point, several may work at once, and one that was away for weeks catches up; none needs to know of the others.
"""

import logging
import os
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from airloom import database, home
from airloom.errors import AirloomError, DataError
from airloom.monitoring import metric_segments, metric_store
from airloom.monitoring.metric_counts import Batch
from airloom.settings import Settings

log = logging.getLogger(__name__)
EVERY = 5.0  # seconds between two looks
SETTLED = 2.0  # seconds after which a folder that did not change has all of its files
TIDY = 3600.0  # seconds between two removals of what is old
PATIENCE = 10.0  # seconds that a person waits for the database


@dataclass(frozen=True)
class CaughtUp:
    """What a look found.

    Attributes:
        segments: files that were counted now.
        predictions: rows of them.
        refused: rows that name no model, version or time.
        damaged: files that cannot be read, with the reason.
    """

    segments: int = 0
    predictions: int = 0
    refused: int = 0
    damaged: tuple[str, ...] = ()


class Aggregator:
    """Counts the files of one prediction log.

    Args:
        settings: of the installation.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings, self._folder = settings, settings.prediction_log
        self._address = settings.database_address
        self._known: set[str] = set()
        self._settled: dict[Path, int] = {}  # days in which nothing is left to count, until their folder changes
        self._asked = False
        self._warned: set[str] = set()

    @cached_property
    def source(self) -> str:
        """Whose files they are, wherever the state folder lies: and no other one has its id."""
        return home.identify(self._settings.home).id

    def catch_up(self, tell: Callable[[int, int], None] | None = None) -> CaughtUp:
        """Count the files that are not counted yet, the oldest first.

        Args:
            tell: is told how many of how many files are done.

        Raises:
            OperationalError: the database is away, or locked; what is counted stays counted.
            CorruptFile: the database is damaged.
        """
        days = {day: changed for day, changed in _days(self._folder) if self._settled.get(day) != changed}
        fresh = [path for day in days for path in segments(day) if path.name not in self._known]
        if fresh and not self._asked:
            self._known |= metric_store.names_of(self._address, self.source)
            self._asked, fresh = True, [path for path in fresh if path.name not in self._known]
        done, rows, refused, damaged = 0, 0, 0, list[str]()
        for number, path in enumerate(fresh):
            try:
                segment = metric_segments.read(path)
            except FileNotFoundError:  # collected or merged since it was listed: the merged one comes next time
                continue
            except DataError as error:
                damaged.append(error.message)
                self._warn(path, error.message)
                continue
            if metric_store.give(self._address, Batch(path.name, self.source, segment.counts, segment.replaces)):
                done += 1
                rows += sum(cell.predictions for cell in segment.counts.values())
                refused += segment.refused
                if segment.refused:
                    self._warn(
                        path, f"{path}: {segment.refused} rows name no model, version, role or time of their own"
                    )
            self._known.update((path.name, *segment.replaces))
            if tell:
                tell(number + 1, len(fresh))
        if not damaged:
            # A file that comes within the same tick of the disk's clock would not be seen.
            self._settled |= {day: changed for day, changed in days.items() if time.time() - changed / 1e9 > SETTLED}
        return CaughtUp(done, rows, refused, tuple(damaged))

    def tidy(self) -> None:
        """Remove minutes and hours beyond their days, and what the ledger need not remember any more."""
        settings = self._settings
        gone = metric_store.expire(self._address, settings.metrics_minute_days, settings.metrics_hour_days, time.time())
        if gone:
            log.info("%d minutes and hours of the model metrics were beyond their days", gone)
        if any(self._folder.glob("date=*/.whole-*")):
            return  # files that a kill left half replaced: the names of the old ones are needed still
        files = {path.name for day, _ in _days(self._folder) for path in segments(day)}
        metric_store.forget(self._address, self.source, files)
        self._asked, self._known = False, set()  # what is forgotten is not known here either

    def _warn(self, path: Path, message: str) -> None:
        if path.name not in self._warned:  # once a process
            self._warned.add(path.name)
            log.warning("the model metrics: %s", message)


def _days(folder: Path) -> list[tuple[Path, int]]:
    """The folders of a prediction log, the oldest day first, each with when its files were last others."""
    return [(day, day.stat().st_mtime_ns) for day in sorted(folder.glob("date=*")) if day.is_dir()]


def segments(day: Path) -> list[Path]:
    """The finished files of a day, oldest first."""
    # Names and not paths: there may be thousands.
    names = sorted(os.listdir(day))  # noqa: PTH208 - names alone: a path for each of thousands of files takes longer
    return [day / name for name in names if metric_segments.SEGMENT.fullmatch(name)]


def now(settings: Settings, tell: Callable[[int, int], None] | None = None) -> CaughtUp:
    """Bring the metrics up to date, as a command does.

    Args:
        settings: of this installation.
        tell: is told how many of how many files are done.

    Raises:
        JobsAway: the database does not answer.
    """
    aggregator = Aggregator(settings)
    return database.patiently(lambda: aggregator.catch_up(tell), PATIENCE)


def start(settings: Settings) -> threading.Thread:
    """Keep the metrics up to date for ever, in a thread that ends with the process."""
    thread = threading.Thread(target=_forever, args=(settings,), name="model-metrics", daemon=True)
    thread.start()
    return thread


def _forever(settings: Settings) -> None:
    aggregator, logged, tidied = Aggregator(settings), "", -TIDY
    pause = threading.Event()
    while not pause.wait(EVERY):
        try:
            found = aggregator.catch_up()
            if found.segments:
                log.info("the model metrics: counted %d predictions of %d files", found.predictions, found.segments)
            if time.monotonic() - tidied > TIDY:
                aggregator.tidy()
                tidied = time.monotonic()
            logged = ""
        except Exception as error:
            # A database is away in many ways, and a disk too; whatever it is, nothing is lost and the next look may do.
            reason = (
                error.message if isinstance(error, AirloomError) else (str(error) or repr(error)).splitlines()[0][:300]
            )
            if reason != logged:  # once, however long it is away
                logged = reason
                log.warning("the model metrics wait: %s", reason)
