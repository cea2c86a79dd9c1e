"""Cells of the store, put together as a question wants them."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from airloom.monitoring.metric_bins import SHARES, Array, quantiles
from airloom.monitoring.metric_counts import OTHERS
from airloom.monitoring.metric_tables import QUANTILE, decoded
from airloom.sql_reader import Reader

TABLES = ("metric_series", "metric_cells", "metric_answers")
_TOTALS = ("requests", "predictions")
_Row = tuple[Any, ...]


@dataclass(frozen=True)
class Question:
    """What is asked.

    Attributes:
        model: by its name in the registry.
        version: its number; "" for all.
        since: the first second.
        until: the first second that is too late.
        by: minute, hour or day; "" for all of the time at once.
        span: seconds of the cells that are read.
    """

    model: str
    version: str
    since: int
    until: int
    by: str
    span: int


@dataclass(frozen=True)
class Rows:
    """The rows of an answer, oldest first; each is of one series and span, or of a series' whole time.

    Attributes:
        series: version and role of each series.
        of_series: the number of each row's series.
        starts: its first second.
        totals: its requests and predictions.
        quantiles: its bins of `SHARES`, one column each.
        histograms: its errors and answers: of each entry the row, the place and the count.
        answers: the answer of each place.
    """

    series: list[tuple[str, str]]
    of_series: Array
    starts: Array
    totals: dict[str, Array]
    quantiles: Array
    histograms: dict[str, tuple[Array, Array, Array]]
    answers: list[str]

    @classmethod
    def of(cls, address: str, question: Question) -> "Rows":
        """Ask the store.

        Raises:
            RegistryError: the database cannot be read.
        """
        reader, series = Reader(address), []
        if reader.has(*TABLES):
            of_model = "SELECT id, version, role FROM metric_series WHERE model = :model"
            series = [row for row in reader.rows(of_model, model=question.model) if question.version in ("", row[1])]
        series.sort(key=lambda row: (row[1].zfill(9), row[2]))
        names = (*_TOTALS, "errors", "answers", *(("quantiles",) if question.by else SHARES))
        columns: dict[str, list[Any]] = {name: [] for name in (*names, "start", "series")}
        for number, (identity, _, _) in enumerate(series):
            some = _cells(reader, identity, question, names)
            for name, values in zip((*names, "start"), zip(*some, strict=True), strict=False):
                columns[name] += values
            columns["series"] += [number] * len(some)
        starts, numbers = np.array(columns["start"], np.int64), np.array(columns["series"], np.int64)
        if not question.by:  # all of a series are one row, of the first second
            starts[:] = question.since
        if len(series) > 1:
            order = np.lexsort((numbers, starts))
            starts, numbers = starts[order], numbers[order]
            columns = {name: [values[place] for place in order.tolist()] for name, values in columns.items()}
        changes = np.diff(starts, prepend=-1).astype(bool) | np.diff(numbers, prepend=-1).astype(bool)
        firsts, place = np.flatnonzero(changes), np.cumsum(changes) - 1
        totals = {name: _summed(np.array(columns[name], np.int64), firsts) for name in _TOTALS}
        histograms = {}
        for name in ("errors", "answers", *(() if question.by else SHARES)):
            cells, entries, counts = decoded(columns[name])
            histograms[name] = place[cells], entries, counts
        if question.by:
            ends = np.frombuffer(b"".join(columns["quantiles"]), QUANTILE).reshape(
                len(starts), sum(map(len, SHARES.values()))
            )
        else:
            of_each = [quantiles(*histograms[name], wanted, len(firsts)) for name, wanted in SHARES.items()]
            ends = np.concatenate(of_each, axis=1)
        shown = [(version, role) for _, version, role in series]
        named = _answers(reader, question.model) if len(starts) else []
        return cls(shown, numbers[firsts], starts[firsts], totals, ends.astype(np.int64), histograms, named)


def _summed(values: Array, firsts: Array) -> Array:
    return np.add.reduceat(values, firsts) if len(firsts) else values


def _answers(reader: Reader, model: str) -> list[str]:
    listed = reader.rows("SELECT number, answer FROM metric_answers WHERE model = :model", model=model)
    known: dict[int, str] = {number: bytes(answer).decode() for number, answer in listed}
    return [known.get(number, OTHERS) for number in range(max(known, default=0) + 1)]


def _cells(reader: Reader, series: int, question: Question, names: Sequence[str]) -> list[_Row]:
    """Columns of a series' cells, the start last."""
    columns = ", ".join((*names, "start"))
    which = "series = :series AND span = :span AND start >= :since AND start < :until"
    values = {"series": series, "span": question.span, "since": question.since, "until": question.until}
    return reader.rows(f"SELECT {columns} FROM metric_cells WHERE {which} ORDER BY start", **values)  # noqa: S608 - ours
