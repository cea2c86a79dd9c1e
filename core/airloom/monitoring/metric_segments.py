"""Counts of one file of the prediction log, in whole columns; what an earlier release did not write is missing.

The time of a row decides its minute, and not the name or the age of its file: after a clock jumped, or a file came
late, a row of yesterday is counted in yesterday's minute.
"""

import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from airloom.errors import DataError
from airloom.monitoring.metric_bins import Array, latency_bins, number_bins, score_bins
from airloom.monitoring.metric_counts import (
    LONGEST,
    LONGEST_MODEL,
    LONGEST_VERSION,
    MINUTE,
    OTHERS,
    ROLES,
    Cell,
    Counts,
    Place,
)

SEGMENT = re.compile(r"[0-9a-f]{12}-[0-9a-f]{12}-m?[0-9a-f]+\.parquet")  # a finished file
_NEEDED = ("time", "model", "version")
_COLUMNS = (*_NEEDED, "prediction", "value", "latency_ms", "rows", "role", "score")
_REPLACES = b"airloom.replaces"  # in the metadata of a file that was made of several: their names
_WHOLE_NUMBER = r"^-?[0-9]+$"  # the answer of a classifier whose classes have no names
_BINS = 1 << 16
_LATEST = 253_402_300_799_999  # milliseconds: the end of the year 9999


@dataclass(frozen=True)
class Segment:
    """What a file holds.

    Attributes:
        counts: of its rows.
        replaces: names of the files that it was made of.
        refused: rows without a model, a version or a time, or in a role that is none.
    """

    counts: Counts
    replaces: tuple[str, ...] = ()
    refused: int = 0


def read(path: Path) -> Segment:
    """Count the rows of a file.

    Raises:
        DataError: it is damaged, or no file of the prediction log.
        FileNotFoundError: it was collected, or merged with others, meanwhile.
    """
    hint = "the metrics go on without its rows; put a copy of it there, or remove it"
    try:
        with pq.ParquetFile(path) as file:
            names = [name for name in _COLUMNS if name in file.schema_arrow.names]
            if missing := set(_NEEDED).difference(names):
                raise DataError(f"{path} has no column {', '.join(sorted(missing))}", hint)
            replaces = json.loads((file.schema_arrow.metadata or {}).get(_REPLACES, b"[]"))
            table = file.read(columns=names)
    except (pa.ArrowException, ValueError) as error:
        raise DataError(f"{path} cannot be read: {str(error).splitlines()[0][:200]}", hint) from None
    except OSError as error:
        if isinstance(error, FileNotFoundError):
            raise
        raise DataError(f"{path} cannot be read: {str(error).splitlines()[0][:200]}", hint) from None
    try:
        counts, refused = count(table)
    except (pa.ArrowException, ValueError) as error:
        raise DataError(f"{path} is no file of the log: {str(error).splitlines()[0][:200]}", hint) from None
    return Segment(counts, tuple(map(str, replaces)), refused)


def count(table: pa.Table) -> tuple[Counts, int]:
    """The counts of rows by minute, and how many rows are refused."""
    table, refused = _good(table)
    if not table.num_rows:
        return {}, refused
    minutes = _milliseconds(table) // (MINUTE * 1000)
    names = [_encoded(table[name]) for name in ("model", "version")] + [_encoded(_roles(table))]
    key, first = np.zeros(table.num_rows, np.int64), int(minutes.min())
    for codes, texts in names:
        key = key * len(texts) + codes
    span = int(minutes.max()) - first + 1
    groups, inverse, sizes = np.unique(key * span + minutes - first, return_inverse=True, return_counts=True)
    cells = [Cell(predictions=size) for size in sizes.tolist()]
    _fill(cells, "latency", inverse, latency_bins(_latency(table)))
    if "score" in table.column_names:
        scores = _numbers(table["score"])
        there = table["score"].is_valid().to_numpy()
        _fill(cells, "scores", inverse[there], score_bins(scores[there]))
    _fill_answers(cells, table, inverse)
    return {_place(int(group), names, span, first): cell for group, cell in zip(groups, cells, strict=True)}, refused


def _good(table: pa.Table) -> tuple[pa.Table, int]:
    good = pa.scalar(True)
    for name, longest in (("model", LONGEST_MODEL), ("version", LONGEST_VERSION)):
        plain = pc.match_substring_regex(table[name].cast(pa.string()), f"^[ -~]{{1,{longest}}}$")
        good = pc.and_(good, pc.fill_null(plain, False))
    moments = pc.cast(table["time"], pa.timestamp("ms", "UTC"), safe=False).cast(pa.int64())
    inside = pc.and_(pc.greater_equal(moments, 0), pc.less_equal(moments, _LATEST))
    good = pc.and_(good, pc.fill_null(inside, False))
    if "role" in table.column_names:
        known = pc.is_in(table["role"].cast(pa.string()), pa.array(ROLES))
        good = pc.and_(good, pc.or_(known, table["role"].is_null()))
    left = table.filter(good)
    return left, table.num_rows - left.num_rows


def _milliseconds(table: pa.Table) -> Array:
    moments = pc.cast(table["time"], pa.timestamp("ms", "UTC"), safe=False)
    return np.asarray(moments.cast(pa.int64()).to_numpy())


def _roles(table: pa.Table) -> Any:
    if "role" not in table.column_names:
        return pa.chunked_array([pa.repeat(ROLES[0], table.num_rows)])
    return pc.fill_null(table["role"].cast(pa.string()), ROLES[0])


def _encoded(column: Any) -> tuple[Array, list[str]]:
    encoded = column.cast(pa.string()).combine_chunks().dictionary_encode()
    encoded = encoded.combine_chunks() if isinstance(encoded, pa.ChunkedArray) else encoded
    return encoded.indices.to_numpy(zero_copy_only=False), encoded.dictionary.to_pylist()


def _place(group: int, names: list[tuple[Array, list[str]]], span: int, first: int) -> Place:
    group, minute = divmod(group, span)
    parts = []
    for _, texts in reversed(names):
        group, code = divmod(group, len(texts))
        parts.append(texts[code])
    role, version, model = parts
    return Place(model, version, role, (minute + first) * MINUTE)


def _latency(table: pa.Table) -> Array:
    """Milliseconds of the whole request: a row has its share."""
    if "latency_ms" not in table.column_names:
        return np.full(table.num_rows, np.nan)
    share = _numbers(table["latency_ms"])
    rows = _numbers(table["rows"]) if "rows" in table.column_names else np.ones(len(share))
    return np.where(rows >= 1, share * rows, np.nan)


def _numbers(column: Any) -> Array:
    """As float64; null is NaN."""
    return np.asarray(pc.fill_null(column.cast(pa.float64()), float("nan")).to_numpy())


def _fill(cells: list[Cell], name: str, groups: Array, bins: Array) -> None:
    pairs, counts = np.unique(groups * _BINS + bins + _BINS // 2, return_counts=True)
    for pair, size in zip(pairs.tolist(), counts.tolist(), strict=True):
        group, place = divmod(pair, _BINS)
        getattr(cells[group], name)[place - _BINS // 2] = size


def _fill_answers(cells: list[Cell], table: pa.Table, groups: Array) -> None:
    """Numbers into bins, and all others by what they say; a whole number is a class."""
    if "prediction" not in table.column_names:
        return
    column = table["prediction"].cast(pa.string())
    is_number = np.zeros(table.num_rows, bool)
    if "value" in table.column_names:
        whole = pc.fill_null(pc.match_substring_regex(column, _WHOLE_NUMBER), False)
        is_number = pc.and_(table["value"].is_valid(), pc.invert(whole)).to_numpy()
        values = _numbers(table["value"])
        _fill(cells, "numbers", groups[is_number], number_bins(values[is_number]))
    others = column.filter(pa.array(~is_number))
    if not len(others):
        return
    long = pc.fill_null(pc.greater(pc.utf8_length(others), LONGEST), True)
    codes, texts = _encoded(pc.if_else(long, OTHERS, others))
    pairs, counts = np.unique(groups[~is_number] * len(texts) + codes, return_counts=True)
    for pair, size in zip(pairs.tolist(), counts.tolist(), strict=True):
        group, code = divmod(pair, len(texts))
        cells[group].answers[texts[code]] = size
