"""The prediction log: Parquet files in `home/predictions/date=YYYY-MM-DD/`, the days in UTC.

Each file is named by the milliseconds of its first and last id (`01a20b760146-01a20b7cd2ff-….parquet`), is there at
once or not at all and never grows; many small ones are replaced by one. pyarrow, pandas and DuckDB read the folder as
it is; a day can be removed whole.

| column | type | |
|---|---|---|
| `id` | string | the prediction's id, UUIDv7 |
| `time` | timestamp(ms, UTC) | when it was given; the time in the id |
| `model`, `version` | string | which version answered |
| `prediction` | string | the answer as text: a class, by name where the model has names, or a number |
| `value` | float64 | the answer where it is a number, else null |
| `latency_ms` | float32 | this row's share: from the judged request to its answers, divided by `rows` |
| `rows` | int32 | predictions in the same request |
| `role` | string | `champion`, `canary` or `shadow`: what the version was when it answered |
| `score` | float32 | the probability of the answered class; null where the answer is no class |
| `top` | list of {class, score} | the most probable classes, at most three, best first |
| `inputs` | string | what the pipeline's `log` keeps of the row, a JSON object by column; null where it keeps nothing |
| `inputs_by` | string | what that is: `full`, `profile`, `hash` or `drop`; `failed` where it could not be made |
| `request` | string | the request's id, as the answer's `X-Request-Id` has it |
| `trace` | string | the trace of the request's `traceparent`; null without one |

Columns are only ever added. `FORM` stands in the metadata of each file; those without it, of earlier releases, end with
`rows`. What a file lacks is read as null, and its role as `champion`.
"""

import json
import os
import re
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from airloom.monitoring import prediction_id as ids
from airloom.monitoring.segment_lock import reading
from airloom.settings import Settings

if TYPE_CHECKING:
    import pyarrow as pa

FORM = 2  # of the files; the first one had no such mark
MARK = b"airloom.prediction_log"
MERGED = "m"  # begins the last part of a file's name, where it was made of several
CHAMPION = "champion"  # the role of rows that have none

_NAME = re.compile(r"(?P<first>[0-9a-f]{12})-(?P<last>[0-9a-f]{12})-(?P<merged>m?)[0-9a-f]+\.parquet")


@lru_cache(maxsize=1)
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
            pa.field("role", pa.string()),
            pa.field("score", pa.float32()),
            pa.field("top", pa.list_(pa.struct([("class", pa.string()), ("score", pa.float32())]))),
            pa.field("inputs", pa.string()),
            pa.field("inputs_by", pa.string()),
            pa.field("request", pa.string()),
            pa.field("trace", pa.string()),
        ],
        {MARK: str(FORM).encode()},
    )


def day(milliseconds: int) -> str:
    """The folder of a moment: `date=2026-11-28`."""
    return f"date={datetime.fromtimestamp(milliseconds / 1000, UTC):%Y-%m-%d}"


def file_name(first: int, last: int, unique: str) -> str:
    """The name of a file by the milliseconds of its first and last prediction."""
    return f"{first:012x}-{last:012x}-{unique}.parquet"


def is_merged(name: str) -> bool:
    """Whether a file was made of several, whose rows may have been read before."""
    parts = _NAME.fullmatch(name)
    return bool(parts and parts["merged"])


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
    role: str = CHAMPION
    score: float | None = None
    top: list[dict[str, Any]] = field(default_factory=list)
    inputs: dict[str, Any] | None = None
    inputs_by: str = ""
    request: str = ""
    trace: str = ""

    @classmethod
    def of(cls, values: dict[str, Any]) -> "LoggedPrediction":
        """The row of what stands in its columns; those that an earlier release did not write are missing or null."""
        there = {name: value for name, value in values.items() if value is not None}
        if "inputs" in there:
            there["inputs"] = json.loads(there["inputs"])
        return cls(**{"value": None} | there)

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
    with reading(settings.prediction_log):
        rows = (_row(path, wanted) for path in segments(settings.prediction_log / day(at), at, at))
        return next((row for row in rows if row), None)


def segments(folder: Path, first: int = 0, last: int = 1 << 48) -> list[Path]:
    """The finished files of a day that may hold predictions of these milliseconds, the ends included, oldest first."""
    files = []
    # Names and not paths: there may be thousands.
    for name in sorted(os.listdir(folder)) if folder.is_dir() else ():  # noqa: PTH208 - names alone, which is quicker
        ends = span(name)
        if ends and ends[0] <= last and ends[1] >= first:
            files.append(folder / name)
    return files


def span(name: str) -> tuple[int, int] | None:
    """The milliseconds of the first and last prediction in a file of the log, by its name; None where it is none."""
    ends = _NAME.fullmatch(name)
    return (int(ends["first"], 16), int(ends["last"], 16)) if ends else None


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
                    return LoggedPrediction.of({"id": wanted, "time": ids.given_at(wanted)} | row)
    except FileNotFoundError:  # collected meanwhile
        return None
    return None
