"""A prediction log as a server writes it, also with columns that this release does not know."""

import uuid
from itertools import groupby

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from airloom.monitoring import prediction_id as ids
from airloom.monitoring.prediction_log import day, file_name


@pytest.fixture
def write_log():
    """Write rows of a model version, columns by name; returns their ids. `at` gives each its milliseconds."""

    def write(settings, model, version, at, form="", **columns):
        numbers = [int.from_bytes(uuid.uuid4().bytes[:5]) for _ in at]
        made = [
            ids.numbered(model, version, int(moment), [number])[0] for moment, number in zip(at, numbers, strict=True)
        ]
        order = sorted(range(len(made)), key=lambda place: made[place])
        for name, places in groupby(order, key=lambda place: day(ids.milliseconds(made[place]))):
            some = list(places)
            table = {
                "id": [made[place] for place in some],
                "time": pa.array([int(at[place]) for place in some], pa.timestamp("ms", "UTC")),
                "model": [model] * len(some),
                "version": [version] * len(some),
                "latency_ms": pa.array([1.0] * len(some), pa.float32()),
                "rows": pa.array([1] * len(some), pa.int32()),
            } | {column: [values[place] for place in some] for column, values in columns.items()}
            ends = ids.milliseconds(table["id"][0]), ids.milliseconds(table["id"][-1])
            folder = settings.prediction_log / name
            folder.mkdir(parents=True, exist_ok=True)
            pq.write_table(pa.table(table), folder / file_name(*ends, form + uuid.uuid4().hex[:12]))
        return made

    return write
