"""What is counted of a model version in a role within a minute. Cells add up exactly: in any order, and back again."""

import json
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, field, fields
from typing import Any, NamedTuple, Self

MINUTE, HOUR, DAY = 60, 3600, 86_400  # seconds
SPANS = {"minute": MINUTE, "hour": HOUR, "day": DAY}
ROLES = ("champion", "canary", "shadow")
ERRORS = ("refused", "busy", "too slow", "not finite", "failed")  # kinds; only ever added, the store has their places
SERVERS = "model servers"  # the source of what they count themselves
OTHERS = "…"  # answers beyond what is told apart
LONGEST_MODEL, LONGEST_VERSION = 256, 64  # characters
LONGEST = 64  # characters of an answer that is told apart: a mask or a vector is none


class Place(NamedTuple):
    """Whose cell it is, and of which time."""

    model: str  # by its name in the registry
    version: str
    role: str
    start: int  # seconds since 1970, UTC


@dataclass
class Cell:
    """Counts: whole numbers, by bin where there are bins (`airloom.monitoring.metric_bins`).

    Attributes:
        requests: that the server answered or failed to answer; told by the server itself.
        errors: of these requests, by kind.
        predictions: rows of the prediction log.
        latency: of these rows: how long the whole request took.
        scores: the probability of the answered class, where there is one.
        numbers: answers that are numbers.
        answers: all others, by class.
    """

    requests: int = 0
    predictions: int = 0
    errors: dict[str, int] = field(default_factory=dict)
    latency: dict[int, int] = field(default_factory=dict)
    scores: dict[int, int] = field(default_factory=dict)
    numbers: dict[int, int] = field(default_factory=dict)
    answers: dict[str, int] = field(default_factory=dict)

    def add(self, other: "Cell", sign: int = 1) -> None:
        """Add another one, or take it away with a `sign` of -1."""
        self.requests += sign * other.requests
        self.predictions += sign * other.predictions
        for name in BINNED:
            mine: dict[Any, int] = getattr(self, name)
            for place, count in getattr(other, name).items():
                total = mine.pop(place, 0) + sign * count
                if total:
                    mine[place] = total

    def __bool__(self) -> bool:
        return self != Cell()


BINNED = tuple(entry.name for entry in fields(Cell) if entry.name not in ("requests", "predictions"))
Counts = dict[Place, Cell]


def add(counts: Counts, others: Counts, sign: int = 1) -> Counts:
    """Add others to counts, which are changed and returned; cells with nothing in them are left out."""
    for place, cell in others.items():
        mine = counts.setdefault(place, Cell())
        mine.add(cell, sign)
        if not mine:
            del counts[place]
    return counts


def of_span(counts: Counts, seconds: int) -> Counts:
    """The same by hour or day."""
    rolled: Counts = {}
    for place, cell in counts.items():
        rolled.setdefault(place._replace(start=place.start // seconds * seconds), Cell()).add(cell)
    return rolled


def packed(counts: Counts) -> bytes:
    """As bytes, for the ledger."""
    rows = [[*place, *(getattr(cell, entry.name) for entry in fields(Cell))] for place, cell in counts.items()]
    return zlib.compress(json.dumps(rows, separators=(",", ":")).encode(), 1)


def unpacked(data: bytes) -> Counts:
    """The inverse of `packed`."""
    return dict(_rows(json.loads(zlib.decompress(data))))


def _rows(rows: list[list[Any]]) -> Iterator[tuple[Place, Cell]]:
    for model, version, role, start, requests, predictions, errors, *binned, answers in rows:
        latency, scores, numbers = ({int(place): count for place, count in bins.items()} for bins in binned)
        yield (
            Place(model, version, role, start),
            Cell(requests, predictions, errors, latency, scores, numbers, answers),
        )


@dataclass(frozen=True)
class Batch:
    """Counts that are added once, however often they are given.

    Attributes:
        name: that no other counts have.
        source: who gives them.
        counts: by minute.
        replaces: batches whose rows are among these.
    """

    name: str
    source: str
    counts: Counts
    replaces: tuple[str, ...] = ()

    @classmethod
    def empty(cls, name: str, source: str) -> Self:
        """One whose rows were counted with another one's."""
        return cls(name, source, {})
