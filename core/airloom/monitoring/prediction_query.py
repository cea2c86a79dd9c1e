"""Questions to the prediction log: of which model, when, in which role, with which answer; and what comes to it.

The names of the files tell their times, so that only files which may have rows are opened; pyarrow reads of these only
the row groups and columns that the question needs.
"""

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from airloom.errors import ConfigError
from airloom.monitoring.moments import moment
from airloom.monitoring.prediction_id import given_at, milliseconds
from airloom.monitoring.prediction_log import CHAMPION, LoggedPrediction, day, is_merged, schema, segments, span
from airloom.monitoring.segment_lock import reading
from airloom.names import ModelName
from airloom.settings import Settings

if TYPE_CHECKING:
    import pyarrow as pa

EVER = 253_402_300_799_999  # milliseconds: the end of the year 9999
TOGETHER = 256  # files that are opened for one scan
POLL_SECONDS = 0.25
ROLES = (CHAMPION, "canary", "shadow")


@dataclass(frozen=True)
class Question:
    """Which rows are wanted; what is empty asks for any.

    Attributes:
        model: by its name in the registry.
        version: its number.
        role: `champion`, `canary` or `shadow`.
        answer: as the column `prediction` has it.
        since: the first moment.
        until: the first moment that is too late.
        with_inputs: only those of which inputs are kept.
        first_id: the smallest id.
    """

    model: str = ""
    version: str = ""
    role: str = ""
    answer: str | None = None
    since: datetime | None = None
    until: datetime | None = None
    with_inputs: bool = False
    first_id: str = ""

    @property
    def first(self) -> int:
        """The first millisecond."""
        return max(0, int(self.since.timestamp() * 1000)) if self.since else 0

    @property
    def last(self) -> int:
        """The last millisecond."""
        return max(-1, int(self.until.timestamp() * 1000) - 1) if self.until else EVER

    def filter(self) -> Any:
        """The same for pyarrow; None where every row is wanted."""
        import pyarrow as pa
        import pyarrow.dataset as ds

        moment = pa.timestamp("ms", "UTC")
        parts = [
            ds.field(name) == value for name, value in {"model": self.model, "version": self.version}.items() if value
        ]
        if self.role:
            role = ds.field("role") == self.role
            parts.append(role | ds.field("role").is_null() if self.role == CHAMPION else role)
        if self.answer is not None:
            parts.append(ds.field("prediction") == self.answer)
        if self.with_inputs:
            parts.append(ds.field("inputs").is_valid())
        if self.first_id:
            parts.append(ds.field("id") >= self.first_id)
        if self.since:
            parts.append(ds.field("time") >= pa.scalar(self.first, moment))
        if self.until:
            parts.append(ds.field("time") <= pa.scalar(self.last, moment))
        wanted = None
        for part in parts:
            wanted = part if wanted is None else wanted & part
        return wanted


def ask(
    settings: Settings,
    model: str = "",
    *,
    version: str = "",
    role: str = "",
    answer: str | None = None,
    since: str | datetime = "",
    until: str | datetime = "",
) -> Question:
    """A question in the words of a person.

    Args:
        settings: of this installation, which a short name of a model means.
        model: `digits`, or `digits/3` for one version.
        version: its number.
        role: `champion`, `canary` or `shadow`.
        answer: as the log has it.
        since: a time in ISO 8601, UTC where it names no zone, or how long ago: `90s`, `10m`, `2h`, `1d`.
        until: the same.

    Raises:
        ConfigError: one of them is not of its kind.
    """
    name = ModelName.match(model) if model else None
    if model and (name is None or name.alias):
        hint = "digits, digits/3, or prod.digits/3 of another installation"
        if name and name.alias:
            hint = f"an alias moves; say --role champion for what served, or a version: {name.name}/3"
        raise ConfigError(f"{model[:80]!r} names no model or version of the prediction log", hint)
    if name and name.version and version and name.version != version:
        raise ConfigError(f"{model!r} and version {version!r} are two versions", "say one of them")
    version = version or (name.version if name else "")
    if version and not (version.isascii() and version.isdecimal()):
        raise ConfigError(f"version {version[:40]!r} is no number", "for example 3")
    if role and role not in ROLES:
        raise ConfigError(f"there is no role {role[:40]!r}", f"there are {', '.join(ROLES)}")
    wanted = name.registered(settings.installation).name if name else ""
    first, end = moment(since, "since"), moment(until, "until")
    if first and end and first >= end:
        raise ConfigError(f"since {first.isoformat()} is not before until {end.isoformat()}", "exchange the two")
    return Question(wanted, version, role, answer, first, end)


def table(
    settings: Settings, question: Question | None = None, last: int | None = None, columns: Sequence[str] | None = None
) -> "pa.Table":
    """The rows that a question asks for, oldest first.

    Args:
        settings: of this installation.
        question: what is asked; None for all rows.
        last: only so many, the newest.
        columns: only these, in this order; None for all.
    """
    question = question or Question()
    with reading(settings.prediction_log):
        return _table(files(settings, question), question, last, columns)


def _table(paths: list[Path], question: Question, last: int | None, columns: Sequence[str] | None) -> "pa.Table":
    if last is not None:
        paths, question = _newest(paths, question, last)
    parts = [_scan(paths[at : at + TOGETHER], question, columns) for at in range(0, len(paths), TOGETHER)]
    rows = _in_order(parts, columns)
    return rows if last is None else rows.slice(max(0, rows.num_rows - last))


def _newest(paths: list[Path], question: Question, last: int) -> tuple[list[Path], Question]:
    """The files that have the newest rows, and a question that only these answer: no other row group is read."""
    left, read, ids = sorted(paths, key=lambda path: _span(path)[1], reverse=True), list[Path](), list[str]()
    while left and last:  # the files of several servers overlap
        read.append(left.pop(0))
        ids = sorted([*ids, *_scan(read[-1:], question, ["id"])["id"].to_pylist()])[-last:]
        if len(ids) == last:
            left = [path for path in left if _span(path)[1] >= milliseconds(ids[0])]
    return (read, replace(question, first_id=ids[0])) if ids else ([], question)


def batches(
    settings: Settings, question: Question | None = None, columns: Sequence[str] | None = None
) -> "Iterator[pa.RecordBatch]":
    """The same rows a part at a time, for more than memory holds; the rows of one day come before those of the next.

    Args:
        settings: of this installation.
        question: what is asked; None for all rows.
        columns: only these, in this order; None for all.
    """
    question = question or Question()
    with reading(settings.prediction_log):
        for path in files(settings, question):
            yield from _in_order([_scan([path], question, columns)], columns).to_batches()


def follow(settings: Settings, question: Question, known: set[str]) -> "Iterator[pa.Table]":
    """Rows as they come to the log, without an end; an empty table where for a moment none came.

    Args:
        settings: of this installation.
        question: what is asked.
        known: the names of files that were read already, as `names` gives them; grows.
    """
    while True:
        now = int(time.time() * 1000)
        days = {day(now - 86_400_000), day(now)}  # a file that began before midnight
        with reading(settings.prediction_log):
            fresh = [path for path in files(settings, question) if path.parent.name in days and path.name not in known]
            known |= {path.name for path in fresh}
            rows = _scan([path for path in fresh if not is_merged(path.name)], question, None)
        yield _in_order([rows], None)
        if not fresh:
            time.sleep(POLL_SECONDS)


def names(settings: Settings) -> set[str]:
    """The names of all files that the log has."""
    return {path.name for path in files(settings, Question())}


def records(rows: "pa.Table") -> list[LoggedPrediction]:
    """Rows as objects, with their times."""
    # Not the timestamps of Arrow, which would import pandas: the id tells the time.
    values = rows.drop_columns(["time"]).to_pylist()
    return [LoggedPrediction.of(row | {"time": given_at(row["id"])}) for row in values]


def files(settings: Settings, question: Question) -> list[Path]:
    """The files that may hold the rows that are asked for, oldest first."""
    first, last = question.first, question.last
    return [
        path
        for folder in sorted(settings.prediction_log.glob("date=*"))
        if day(first) <= folder.name <= day(last)
        for path in segments(folder, first, last)
    ]


def _span(path: Path) -> tuple[int, int]:
    return span(path.name) or (0, 0)


def _scan(paths: Sequence[Path], question: Question, columns: Sequence[str] | None) -> "pa.Table":
    """The rows of some files; those that are collected meanwhile have none."""
    import pyarrow.dataset as ds

    wanted = None if columns is None else list(dict.fromkeys([*columns, "id"]))
    left = [str(path) for path in paths]
    while left:
        try:
            # The schema is given: files of earlier releases lack columns.
            return ds.dataset(left, schema(), format="parquet").to_table(wanted, filter=question.filter())
        except FileNotFoundError:
            left = [path for path in left if Path(path).exists()]
    return schema().empty_table().select(wanted or schema().names)


def _in_order(parts: "Sequence[pa.Table]", columns: Sequence[str] | None) -> "pa.Table":
    import pyarrow as pa
    import pyarrow.compute as pc

    rows = pa.concat_tables(parts) if parts else schema().empty_table()
    rows = rows.sort_by("id")
    if "role" in rows.column_names:
        place = rows.column_names.index("role")
        rows = rows.set_column(place, rows.schema.field(place), pc.fill_null(rows["role"], CHAMPION))
    return rows if columns is None else rows.select(list(columns))
