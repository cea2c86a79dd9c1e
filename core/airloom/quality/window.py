"""Windows and moments in the words of a person: `1h`, `1000` rows; `2026-11-30T14:00`, or `2d` ago."""

import re
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import numpy as np

from airloom.errors import ConfigError
from airloom.monitoring.moments import seconds_in

MOST_ROWS = 10_000_000


@dataclass(frozen=True)
class Window:
    """Either so many seconds, from midnight UTC on, or so many rows."""

    seconds: float = 0.0
    rows: int = 0

    def __str__(self) -> str:
        return f"{self.rows:,} rows" if self.rows else shown_length(self.seconds)


def parse(text: str) -> Window:
    """Read `90s`, `10m`, `1h`, `7d`, or a number of rows.

    Raises:
        ConfigError: it is none of them, or of no length.
    """
    if re.fullmatch(r"\d{1,9}", text) and 0 < int(text) <= MOST_ROWS:
        return Window(rows=int(text))
    if not (seconds := seconds_in(text)):
        hint = f"a time as 90s, 10m, 1h, 7d, or a number of rows up to {MOST_ROWS:,}, as 1000"
        raise ConfigError(f"--window {text[:40]!r} is no window", hint)
    return Window(seconds=seconds)


def milliseconds(since: datetime | None, until: datetime | None) -> tuple[int, int]:
    """The first millisecond, and the first that is too late.

    Raises:
        ConfigError: the end is not after the beginning.
    """
    first = max(0, int(since.timestamp() * 1000)) if since else 0
    last = int(until.timestamp() * 1000) if until else 1 << 48
    if first >= last:
        raise ConfigError(f"since {since} is not before until {until}", "exchange the two")
    return first, last


def cut(moments: "np.ndarray[Any, Any]", window: Window) -> list[tuple[int, int, tuple[float, float]]]:
    """First row, row after the last, and the ends of each window that has a row.

    Args:
        moments: seconds since 1970, ascending.
        window: that they are cut into; a last one of fewer rows is one too.
    """
    if window.rows:
        starts = range(0, len(moments), window.rows)
        parts = [(at, min(at + window.rows, len(moments))) for at in starts]
        return [(low, high, (float(moments[low]), float(moments[high - 1]))) for low, high in parts]
    numbers = np.floor(moments / window.seconds).astype(np.int64)
    there, firsts = np.unique(numbers, return_index=True)
    highs = [*firsts.tolist(), len(moments)][1:]
    return [
        (int(low), int(high), (number * window.seconds, (number + 1) * window.seconds))
        for number, low, high in zip(there.tolist(), firsts, highs, strict=True)
    ]


def shown_length(seconds: float) -> str:
    """A length of time for people: `3.5 h`."""
    for unit, size in (("d", 86_400), ("h", 3600), ("min", 60)):
        if abs(seconds) >= size:
            return f"{seconds / size:.3g} {unit}"
    return f"{seconds:.3g} s"


def shown_moment(seconds: float) -> str:
    """Seconds since 1970 for people, UTC, to the minute."""
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%d %H:%M}"
