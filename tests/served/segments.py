"""Files of a prediction log, with whatever columns and rows a test wants."""

import uuid
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from airloom.monitoring.prediction_log import day, file_name

MIDNIGHT = 1_790_000_000_000 // 86_400_000 * 86_400_000  # milliseconds
TYPES = {
    "time": pa.timestamp("ms", "UTC"),
    "value": pa.float64(),
    "latency_ms": pa.float32(),
    "rows": pa.int32(),
    "score": pa.float32(),
}


def prediction(**more):
    """A row as the model server writes it; `at` are seconds after midnight."""
    row = {"time": MIDNIGHT + int(more.pop("at", 0) * 1000), "model": "digits", "version": "1"}
    return {**row, "prediction": "7", "value": 7.0, "latency_ms": 2.0, "rows": 1, **more}


def write_segment(folder: Path, rows: list[dict], name: str = "", replaces: bytes = b"") -> Path:
    """A file of the log with these rows."""
    moments = [row["time"] for row in rows if isinstance(row.get("time"), int)] or [MIDNIGHT]
    moments = [min(max(moment, 0), 2**47) for moment in moments]
    names = list(dict.fromkeys(name for row in rows for name in row))
    columns = {n: pa.array([row.get(n) for row in rows], TYPES.get(n, pa.string())) for n in names}
    table = pa.table(columns).replace_schema_metadata({b"airloom.replaces": replaces} if replaces else None)
    path = folder / day(min(moments)) / (name or file_name(min(moments), max(moments), uuid.uuid4().hex[:12]))
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(table, path)
    return path
