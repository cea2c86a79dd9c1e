"""The prediction log: Parquet files in `home/predictions/date=YYYY-MM-DD/`, the days in UTC.

Each file is named by the milliseconds of its first and last id (`01a20b760146-01a20b7cd2ff-….parquet`), is there at
once or not at all and never changes; pyarrow, pandas and DuckDB read the folder as it is; a day can be removed whole.

| column | type | |
|---|---|---|
| `id` | string | the prediction's id, UUIDv7 |
| `time` | timestamp(ms, UTC) | when it was given; the time in the id |
| `model`, `version` | string | which version answered |
| `prediction` | string | the answer as text: a class, by name where the model has names, or a number |
| `value` | float64 | the answer where it is a number, else null |
| `latency_ms` | float32 | this row's share: from the judged request to its answers, divided by `rows` |
| `rows` | int32 | predictions in the same request |
"""

import re
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from airloom.monitoring import prediction_id as ids
from airloom.settings import Settings

if TYPE_CHECKING:
    import pyarrow as pa

_NAME = re.compile(r"(?P<first>[0-9a-f]{12})-(?P<last>[0-9a-f]{12})-[0-9a-f]+\.parquet")


def schema() -> "pa.Schema":
    """The columns, as Arrow has them."""
    import pyarrow as pa

    return pa.schema(
        [
            pa.field("id", pa.string(), nullable=False),
            pa.field("time", pa.timestamp("ms", "UTC"), nullable=False),
            pa.field("model", pa.string(), nullable=False),
            pa.field("version", pa.string(), nullable=False),
            pa.field("prediction", pa.string(), nullable=False),
            pa.field("value", pa.float64()),
            pa.field("latency_ms", pa.float32(), nullable=False),
            pa.field("rows", pa.int32(), nullable=False),
        ]
    )


def day(milliseconds: int) -> str:
    """The folder of a moment: `date=2026-11-28`."""
    return f"date={datetime.fromtimestamp(milliseconds / 1000, UTC):%Y-%m-%d}"


def file_name(first: int, last: int, unique: str) -> str:
    """The name of a file by the milliseconds of its first and last prediction."""
    return f"{first:012x}-{last:012x}-{unique}.parquet"


@dataclass(frozen=True)
class LoggedPrediction:
    """A row of the log."""

    id: str
    time: datetime
    model: str
    version: str
    prediction: str
    value: float | None
    latency_ms: float
    rows: int

    def to_dict(self) -> dict[str, Any]:
        """As JSON, the time in ISO 8601."""
        return {**vars(self), "time": self.time.isoformat()}


def find(settings: Settings, prediction_id: str) -> LoggedPrediction | None:
    """The row of a prediction; None where it was sampled away, collected, or is not written yet.

    Only files whose times fit are opened, and of them only the row groups whose ids do.

    Raises:
        ValueError: it is no prediction id.
    """
    at = ids.milliseconds(prediction_id)
    wanted = prediction_id.lower()
    for path in _files(settings.prediction_log / day(at), at, at):
        row = _row(path, wanted)
        if row:
            return row
    return None


def read(settings: Settings, start: datetime, end: datetime) -> "pa.Table":
    """All rows with `start <= time < end`, oldest first."""
    import pyarrow as pa
    import pyarrow.compute as pc
    import pyarrow.parquet as pq

    first, last = (int(moment.timestamp() * 1000) for moment in (start, end))
    days = sorted(settings.prediction_log.glob("date=*"))
    tables = [
        pq.ParquetFile(path).read()
        for folder in days
        if day(first) <= folder.name <= day(last)
        for path in _files(folder, first, last - 1)
    ]
    if not tables:
        return schema().empty_table()
    table = pa.concat_tables(tables)
    moment = pc.cast(table["time"], pa.int64())
    return table.filter(pc.and_(pc.greater_equal(moment, first), pc.less(moment, last))).sort_by("id")


def _files(folder: Path, first: int, last: int) -> list[Path]:
    """The finished files of a day that may hold predictions of these milliseconds, the ends included."""
    files = []
    for path in sorted(folder.iterdir()) if folder.is_dir() else []:
        name = _NAME.fullmatch(path.name)
        if name and int(name["first"], 16) <= last and int(name["last"], 16) >= first:
            files.append(path)
    return files


def _row(path: Path, wanted: str) -> LoggedPrediction | None:
    """Without pyarrow.compute and without timestamps, which would import pandas: this must be quick."""
    import pyarrow.parquet as pq

    try:
        with pq.ParquetFile(path) as file:
            columns = [name for name in file.schema_arrow.names if name not in ("id", "time")]
            for group in range(file.num_row_groups):
                ends = file.metadata.row_group(group).column(0).statistics
                if ends is not None and ends.has_min_max and not ends.min <= wanted <= ends.max:
                    continue
                rows = file.read_row_group(group, columns=["id"]).column(0).to_pylist()
                if wanted in rows:
                    row = file.read_row_group(group, columns=columns).slice(rows.index(wanted), 1).to_pylist()[0]
                    return LoggedPrediction(wanted, ids.given_at(wanted), **row)
    except FileNotFoundError:  # collected meanwhile
        return None
    return None
