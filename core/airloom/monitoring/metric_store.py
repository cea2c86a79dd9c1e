"""The model metrics as tables: cells by model, version, role and span of time, and a ledger of what was counted.

One schema on SQLite and PostgreSQL, for any number of writers. A batch of counts and its name in the ledger are one
transaction, so a batch that is given twice, by one writer or by two at once, counts once. Minutes, hours and days are
added to together: there is no roll-up that could be behind.
"""

import time
from collections.abc import Iterable
from typing import Any

import numpy as np
from sqlalchemy import Connection, bindparam, delete, insert, select, update

from airloom import database
from airloom.monitoring.metric_bins import SHARES, quantiles_of
from airloom.monitoring.metric_counts import (
    BINNED,
    DAY,
    ERRORS,
    HOUR,
    MINUTE,
    OTHERS,
    SERVERS,
    SPANS,
    Batch,
    Cell,
    Counts,
    Place,
    add,
    of_span,
    packed,
    unpacked,
)
from airloom.monitoring.metric_tables import ANSWERS, BATCHES, CELLS, PAIR, QUANTILE, SERIES, WRITER, encoded, engine

MOST_ANSWERS = 10_000  # of a model that are told apart; those that come later are counted as `OTHERS`
FORGET = 7 * DAY  # seconds that the ledger keeps the name of a file that is gone, or of a server's counts
_SOME = 500  # values in one statement


def give(address: str, batch: Batch, locked: float = database.LOCKED) -> bool:
    """Add the counts of a batch; False where they are counted already.

    Of the batches that it replaces, those that were counted are taken away again: its rows are theirs, and more.

    Args:
        address: of the database.
        batch: of counts.
        locked: seconds to wait for another writer of SQLite.
    """
    now = int(time.time())
    with engine(address, locked).begin() as connection:
        # First of all, and it holds until the end: one writer at a time, in SQLite as in PostgreSQL.
        connection.execute(update(WRITER).values(turns=WRITER.c.turns + 1))
        counted = _counts_of(connection, [batch.name, *batch.replaces])
        if batch.name in counted:
            return False
        change = add({}, batch.counts)
        for name in batch.replaces:
            add(change, unpacked(counted[name]) if name in counted else {}, -1)
        entries = [batch, *(Batch.empty(name, batch.source) for name in batch.replaces if name not in counted)]
        connection.execute(
            insert(BATCHES),
            [{"name": e.name, "source": e.source, "at": now, "counts": packed(e.counts)} for e in entries],
        )
        _add(connection, change)
    return True


def names_of(address: str, source: str) -> set[str]:
    """The batches of a source that are counted."""
    with engine(address).connect() as connection:
        return set(connection.execute(select(BATCHES.c.name).where(BATCHES.c.source == source)).scalars())


def forget(address: str, source: str, there: Iterable[str]) -> None:
    """Drop the ledger's entries of files that have been gone for long; none of them comes back.

    Args:
        address: of the database.
        source: whose files they are.
        there: the names of those that there are.
    """
    now, mine = int(time.time()), BATCHES.c.source == source
    with engine(address).begin() as connection:
        rows = connection.execute(select(BATCHES.c.name, BATCHES.c.gone).where(mine)).all()
        known, present = {name: gone for name, gone in rows}, set(there)
        changes: list[tuple[int | None, list[str]]] = [
            (now, [name for name, gone in known.items() if name not in present and gone is None])
        ]
        changes += [(None, [name for name, gone in known.items() if name in present and gone is not None])]
        for gone, names in changes:
            if names:
                change = update(BATCHES).where(BATCHES.c.name == bindparam("which")).values(gone=gone)
                connection.execute(change, [{"which": name} for name in names])
        connection.execute(delete(BATCHES).where(mine & (BATCHES.c.gone < now - FORGET)))
        # A server gives a batch again within seconds, until it has the answer.
        connection.execute(delete(BATCHES).where((BATCHES.c.source == SERVERS) & (BATCHES.c.at < now - FORGET)))


def expire(address: str, minute_days: int, hour_days: int, now: float) -> int:
    """Remove minutes and hours that are beyond their days; days stay. Returns how many cells went.

    Args:
        address: of the database.
        minute_days: that minutes are kept; 0 for no limit.
        hour_days: the same of hours.
        now: seconds since 1970.
    """
    gone = 0
    with engine(address).begin() as connection:
        for series in connection.execute(select(SERIES.c.id)).scalars().all():  # in the order of the key
            for span, days in ((MINUTE, minute_days), (HOUR, hour_days)):
                if days:
                    old = (CELLS.c.span == span) & (CELLS.c.start < int(now) - days * DAY)
                    gone += connection.execute(delete(CELLS).where((CELLS.c.series == series) & old)).rowcount
    return gone


def _counts_of(connection: Connection, names: list[str]) -> dict[str, bytes]:
    counted: dict[str, bytes] = {}
    for first in range(0, len(names), _SOME):
        wanted = BATCHES.c.name.in_(names[first : first + _SOME])
        rows = connection.execute(select(BATCHES.c.name, BATCHES.c.counts).where(wanted))
        counted |= {name: bytes(counts) for name, counts in rows}
    return counted


def _add(connection: Connection, counts: Counts) -> None:
    numbers = {model: _answer_numbers(connection, model, counts) for model in {place.model for place in counts}}
    series = {which: _series(connection, *which) for which in {place[:3] for place in counts}}
    for span in SPANS.values():
        rolled = counts if span == MINUTE else of_span(counts, span)
        for which, identity in series.items():
            cells = {place.start: (place, cell) for place, cell in rolled.items() if place[:3] == which}
            _add_cells(connection, identity, span, cells, numbers[which[0]])


def _series(connection: Connection, model: str, version: str, role: str) -> int:
    wanted = (SERIES.c.model == model) & (SERIES.c.version == version) & (SERIES.c.role == role)
    there = connection.execute(select(SERIES.c.id).where(wanted)).scalar()
    if there is not None:
        return int(there)
    made = connection.execute(insert(SERIES).values(model=model, version=version, role=role))
    return int(made.inserted_primary_key[0])  # type: ignore[index] # a row of one key


def _answer_numbers(connection: Connection, model: str, counts: Counts) -> dict[str, int]:
    """The number of each answer, which it keeps; 0 for those beyond what is told apart."""
    wanted = {answer for place, cell in counts.items() if place.model == model for answer in cell.answers}
    rows = connection.execute(select(ANSWERS.c.answer, ANSWERS.c.number).where(ANSWERS.c.model == model))
    known = {bytes(answer).decode(): int(number) for answer, number in rows}
    fresh: list[dict[str, Any]] = [] if known else [{"model": model, "number": 0, "answer": OTHERS.encode()}]
    known.setdefault(OTHERS, 0)
    room = range(len(known), MOST_ANSWERS + 1)
    for number, answer in zip(room, sorted(wanted.difference(known)), strict=False):
        fresh.append({"model": model, "number": number, "answer": answer.encode()})
        known[answer] = number
    if fresh:
        connection.execute(insert(ANSWERS), fresh)
    return known


def _add_cells(
    connection: Connection, series: int, span: int, cells: dict[int, tuple[Place, Cell]], numbers: dict[str, int]
) -> None:
    if not cells:
        return
    mine = (CELLS.c.series == series) & (CELLS.c.span == span) & CELLS.c.start.between(min(cells), max(cells))
    there = {row.start: row for row in connection.execute(select(CELLS).where(mine)) if row.start in cells}
    fresh, changed = list[dict[str, Any]](), list[dict[str, Any]]()
    for start, (_, cell) in cells.items():
        row = there.get(start)
        values = {"start": start, **_values(cell, numbers, row)}
        (fresh if row is None else changed).append({f"new_{name}": value for name, value in values.items()})
    if fresh:
        rows = [{name.removeprefix("new_"): value for name, value in row.items()} for row in fresh]
        connection.execute(insert(CELLS), [{"series": series, "span": span, **row} for row in rows])
    if changed:
        which = (CELLS.c.series == series) & (CELLS.c.span == span) & (CELLS.c.start == bindparam("new_start"))
        values = {name: bindparam(f"new_{name}") for name in ("requests", "predictions", "quantiles", *BINNED)}
        connection.execute(update(CELLS).where(which).values(values), changed)


def _values(cell: Cell, numbers: dict[str, int], row: Any) -> dict[str, Any]:
    """The columns of a cell, added to what its row holds."""
    histograms: dict[str, dict[int, int]] = {
        name: dict(getattr(cell, name)) for name in ("latency", "scores", "numbers")
    }
    histograms["errors"] = {ERRORS.index(kind): count for kind, count in cell.errors.items()}
    answers: dict[int, int] = {}
    for answer, count in cell.answers.items():
        number = numbers.get(answer, 0)
        answers[number] = answers.get(number, 0) + count
    histograms["answers"] = answers
    values: dict[str, Any] = {"requests": cell.requests, "predictions": cell.predictions}
    for name in BINNED:
        bins = histograms[name]
        if row is not None:
            pairs = np.frombuffer(getattr(row, name), PAIR)
            for place, count in zip(pairs["bin"].tolist(), pairs["count"].tolist(), strict=True):
                bins[place] = bins.get(place, 0) + count
        values[name] = encoded({place: count for place, count in bins.items() if count})
    ends = [place for name, shares in SHARES.items() for place in quantiles_of(histograms[name], shares)]
    values["quantiles"] = np.array(ends, QUANTILE).tobytes()
    if row is not None:
        values["requests"] += row.requests
        values["predictions"] += row.predictions
    return values
