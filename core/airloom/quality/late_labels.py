"""Late labels on their way in: from a file, a frame or by hand, each row checked before the first is kept."""

import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from airloom.contracts import Record
from airloom.errors import ConfigError, DataError
from airloom.monitoring import labels, log_columns
from airloom.monitoring.label_rule import canonical
from airloom.monitoring.labels import ID, INPUT, REQUEST, NewLabel, check_source, check_subject
from airloom.names import ModelName
from airloom.settings import Settings

if TYPE_CHECKING:
    import pyarrow as pa

    from airloom.datasets.ingest import Reading

SUBJECTS = ("id", "prediction_id")  # columns that a file has by themselves
AHEAD = 300.0  # seconds that a source's clock may be ahead of ours
SHOWN = 3


@dataclass(frozen=True)
class AddedLabels(Record):
    """What became of labels.

    Attributes:
        added: how many are new.
        known: how many had been said before, by the same source.
        otherwise: how many of the new ones say something else than another label of the same prediction.
        unknown: how many ids have no row in the prediction log; their labels wait for it.
        unknown_ids: the first of these.
        notes: what the reader of the file found out or left out.
    """

    added: int
    known: int
    otherwise: int
    unknown: int = 0
    unknown_ids: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Columns:
    """Which column of a file says what; "" finds `id` or `prediction_id`, `label`, and `time` and `source` if any."""

    subject: str = ""
    label: str = "label"
    time: str = "time"
    source: str = "source"


def add_file(
    settings: Settings,
    path: Path,
    *,
    source: str,
    model: str = "",
    by: str = ID,
    columns: Columns | None = None,
    reading: "Reading | None" = None,
) -> AddedLabels:
    """Keep the labels of a CSV, JSON lines, Parquet or Arrow file, all or none.

    Args:
        settings: of this installation.
        path: of the file.
        source: who says so, for rows that do not.
        model: needed for keys of one's own; an id tells it.
        by: `id`, `request` or `input:COLUMN`.
        columns: which says what.
        reading: how the values are written.

    Raises:
        DataError: naming the file, the row and the value.
        ConfigError: `by`, the model or the source is none.
    """
    from airloom.datasets.ingest import FIRST_ROWS, open_source

    names = columns or Columns()
    rows = open_source(path, type="generic", label=names.label, reading=reading)
    table = rows.to_table()
    notes = list(rows.notes)
    first = FIRST_ROWS.get(path.suffix.lower(), 0)
    try:
        added = add_table(settings, table, source=source, model=model, by=by, columns=names, first=first)
    except DataError as error:
        raise DataError(f"{path}: {error.message}", error.hint) from None
    return added.with_(notes=notes)


def add_table(
    settings: Settings,
    table: "pa.Table",
    *,
    source: str,
    model: str = "",
    by: str = ID,
    columns: Columns | None = None,
    first: int = 0,
) -> AddedLabels:
    """The same of an Arrow table; `first` is the number of its first row, for messages."""
    names = columns or Columns()
    _check(by, model)
    check_source(source)
    subject = names.subject or next((name for name in SUBJECTS if name in table.column_names), "id")
    for role, name in (("id" if by == ID else "key", subject), ("label", names.label)):
        if name not in table.column_names:
            there = ", ".join(map(ascii, table.column_names[:20]))
            hint = f"say which: --{'id' if role != 'label' else 'label'}-column NAME"
            raise DataError(f"there is no column {name[:80]!a} with the {role}; there are {there}", hint)
    rows = zip(
        table[subject].to_pylist(),
        table[names.label].to_pylist(),
        _times(table, names.time),
        table[names.source].to_pylist() if names.source in table.column_names else [source] * table.num_rows,
        strict=True,
    )
    new = [_checked(first + place, row, by, source) for place, row in enumerate(rows)]
    return _keep(settings, new, by, model)


def add(
    settings: Settings, pairs: Mapping[str, Any] | Iterable[tuple[str, Any]], *, source: str, **more: Any
) -> AddedLabels:
    """The same of ids, or keys, with their labels.

    Args:
        settings: of this installation.
        pairs: a mapping, or pairs.
        source: who says so.
        more: `model` and `by`, as `add_file` takes them, and `found`: a time, the same for all.

    Raises:
        DataError: naming the place of the pair.
        ConfigError: `by`, the model or the source is none.
    """
    by, model, found = more.get("by", ID), more.get("model", ""), more.get("found")
    _check(by, model)
    check_source(source)
    items = pairs.items() if isinstance(pairs, Mapping) else pairs
    new = [_checked(place, (*pair, found, source), by, source) for place, pair in enumerate(items)]
    return _keep(settings, new, by, model)


def add_rows(
    settings: Settings,
    rows: Iterable[tuple[Any, Any, Any, str | None]],
    *,
    source: str,
    model: str = "",
    by: str = ID,
) -> AddedLabels:
    """The same of rows of an id (or key), a label, the time when it was known or None, and who says so or None.

    Args:
        settings: of this installation.
        rows: counted from 0.
        source: who says so, for rows that do not.
        model: needed for keys of one's own; an id tells it.
        by: `id`, `request` or `input:COLUMN`.

    Raises:
        DataError: naming the row and the value.
        ConfigError: `by`, the model or the source is none.
    """
    _check(by, model)
    check_source(source)
    return _keep(settings, [_checked(place, row, by, source) for place, row in enumerate(rows)], by, model)


def _check(by: str, model: str) -> None:
    if by not in (ID, REQUEST) and not (by.startswith(INPUT) and 0 < len(by) - len(INPUT) <= 200):
        hint = "id, request (the X-Request-Id of one row's request), or input:COLUMN of the logged inputs"
        raise ConfigError(f"labels cannot be given by {by[:60]!r}", hint)
    name = ModelName.match(model) if model else None
    if by != ID and (name is None or name.version or name.alias):
        hint = "--model digits: a key of one's own does not tell it; of which version an answer was, the log says"
        raise ConfigError(f"{model[:60]!r} names no model whose keys these are", hint)


def _checked(place: int, row: tuple[Any, ...], by: str, otherwise: str) -> NewLabel:
    subject, value, moment, source = row
    try:
        if subject is None or value is None:
            raise ValueError(f"there is no {'label' if value is None else 'id' if by == ID else 'key'}")
        key = check_subject(subject if isinstance(subject, str) else canonical(subject), by)
    except ValueError as error:
        raise DataError(f"row {place}: {error}", "mend that row, or leave it out") from None
    try:
        text = canonical(value)
    except ValueError as error:
        raise DataError(f"row {place}: the label {error}", "mend that row, or leave it out") from None
    try:
        found = None if moment is None else _seconds(moment)
        who = otherwise if source is None else check_source(str(source))
    except ValueError as error:
        raise DataError(f"row {place}: {error}", "as 2026-11-30T14:00, UTC where no zone stands there") from None
    except ConfigError as error:
        raise DataError(f"row {place}: {error.message}", error.hint) from None
    return NewLabel(key, text, who, found)


def _times(table: "pa.Table", name: str) -> list[Any]:
    """When each label was known, as a datetime or text; pandas is not needed for it."""
    import pyarrow as pa

    if name not in table.column_names:
        return [None] * table.num_rows
    column = table[name]
    if pa.types.is_timestamp(column.type):
        column = column.cast(pa.timestamp("us", column.type.tz), safe=False)
    return list(column.to_pylist())


def _seconds(moment: Any) -> float:
    if isinstance(moment, date) and not isinstance(moment, datetime):
        moment = datetime(moment.year, moment.month, moment.day, tzinfo=UTC)
    if isinstance(moment, str):
        try:
            moment = datetime.fromisoformat(moment)
        except ValueError:
            raise ValueError(f"{moment[:60]!a} is no time") from None
    if not isinstance(moment, datetime):
        raise ValueError(f"{str(moment)[:60]} is no time, but a {type(moment).__name__}")
    seconds = (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()
    if seconds > time.time() + AHEAD:
        raise ValueError(f"{moment.isoformat()} is in the future: no label is known before its time")
    return seconds


def _keep(settings: Settings, new: Sequence[NewLabel], by: str, model: str) -> AddedLabels:
    settings.make_home()
    registered = settings.registered(model) if by != ID else ""
    counts = labels.add(settings.database_address, new, by=by, model=registered)
    unknown: list[str] = []
    if by == ID:
        wanted = dict.fromkeys(label.subject for label in new)
        logged = log_columns.there(settings, wanted)
        unknown = [identity for identity in wanted if identity not in logged]
    return AddedLabels(counts.added, counts.known, counts.otherwise, len(unknown), unknown[:SHOWN])
