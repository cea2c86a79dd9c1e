"""What leaves the prediction log: files beyond its limits, by age, then the oldest by size; and single rows."""

import os
from dataclasses import dataclass
from pathlib import Path

from airloom.files import replacing
from airloom.monitoring.prediction_id import milliseconds
from airloom.monitoring.prediction_log import day, segments, span
from airloom.monitoring.segment_lock import replacing_files
from airloom.monitoring.segment_merging import finish
from airloom.settings import Settings


@dataclass(frozen=True)
class Limits:
    """How much of the log is kept.

    Attributes:
        days: files whose last prediction is older go; 0 for no limit.
        gigabytes: of all files; the oldest go first; 0 for no limit.
    """

    days: float = 0.0
    gigabytes: float = 0.0


def expire(folder: Path, limits: Limits, now: float) -> list[str]:
    """Remove what is beyond the limits; several processes may do so at once. Returns the files' names, oldest first.

    Args:
        folder: of the log.
        limits: what is kept.
        now: seconds since 1970.
    """
    if not limits.days and not limits.gigabytes:
        return []
    oldest = (now - limits.days * 86_400) * 1000 if limits.days else 0.0
    room = round(limits.gigabytes * 1e9) if limits.gigabytes else float("inf")
    gone = []
    for path, last, size in sorted(_files(folder), key=lambda file: (file[1], file[0]), reverse=True):
        room -= size  # the newest are counted first
        if last < oldest or room < 0:
            path.unlink(missing_ok=True)
            gone.append(path.name)
    for place in folder.glob("date=*"):
        try:
            place.rmdir()
        except OSError:  # it holds files, as it should
            continue
    return gone[::-1]


def erase(settings: Settings, identity: str) -> None:
    """Take one row out of the log; again it does no harm.

    Args:
        settings: of this installation.
        identity: of the prediction.

    Raises:
        OSError: the disk does not take the file without it.
    """
    import pyarrow.compute as pc
    import pyarrow.parquet as pq

    at = milliseconds(identity)
    finish(settings.prediction_log, wait=True)  # else it would come back
    with replacing_files(settings.prediction_log):
        for path in segments(settings.prediction_log / day(at), at, at):
            try:
                rows = pq.ParquetFile(path).read()
            except FileNotFoundError:  # collected meanwhile
                continue
            left = rows.filter(pc.not_equal(rows["id"], identity))
            if not left.num_rows:
                path.unlink(missing_ok=True)
            elif left.num_rows < rows.num_rows:
                with replacing(path) as hidden:
                    pq.write_table(left, hidden, compression="zstd", row_group_size=20_000)


def _files(folder: Path) -> list[tuple[Path, int, int]]:
    """Each file of the log with the millisecond of its last prediction and its bytes."""
    files = []
    for place in sorted(folder.glob("date=*")):
        with os.scandir(place) as entries:
            for entry in entries:
                ends = span(entry.name)
                if ends is None:
                    continue
                try:
                    files.append((Path(entry.path), ends[1], entry.stat().st_size))
                except FileNotFoundError:  # another process was quicker
                    continue
    return files
