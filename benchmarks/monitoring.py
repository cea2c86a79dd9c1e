"""The model metrics: how many predictions a core counts in a second, and how long a month of minutes takes to answer.

`predictions_per_cpu_s` counts files of the prediction log as a busy model server writes them, of 100,000 rows each,
into a store on SQLite, with all that it takes: Parquet, the ledger, minutes, hours and days. CPU time of the process.
`small_files_per_cpu_s` counts files of 20 rows, as a quiet server writes one every five seconds.

`month_query_ms` asks for every minute of a month of one model, of a store that has those of 100: quantiles and
answers of 43,200 minutes as an Arrow table. A model has a prediction a second.
`--quick` shows on few rows and minutes that everything runs.
"""

import argparse
import json
import sys
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from sqlalchemy import text

from airloom.monitoring import metric_store, metric_tables
from airloom.monitoring.metric_aggregator import Aggregator
from airloom.monitoring.metric_counts import DAY, MINUTE, Batch, Cell, Counts, Place
from airloom.monitoring.metric_query import ask, table
from airloom.monitoring.prediction_id import numbered
from airloom.monitoring.prediction_log import day, file_name
from airloom.settings import Settings
from benchmarks._report import Report, Target

TARGETS: dict[str, Target | None] = {
    "predictions_per_cpu_s": (">=", 200_000),
    "small_files_per_cpu_s": None,
    "month_query_ms": ("<=", 200),
}
ROWS, FILES, SMALL, ROUNDS = 100_000, 5, 200, 5
MODELS, DAYS = 100, 30
_COLUMNS = "span, start, requests, predictions, quantiles, errors, answers, latency, scores, numbers"
_COPY = (  # all of the first model's for another one
    "INSERT INTO metric_series (id, model, version, role) VALUES (:id, :model, '1', 'champion')",
    "INSERT INTO metric_answers SELECT :model, number, answer FROM metric_answers WHERE model = 'model0'",
    f"INSERT INTO metric_cells (series, {_COLUMNS}) SELECT :id, {_COLUMNS} FROM metric_cells WHERE series = 1",  # noqa: S608 - ours
)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="few rows, a day of minutes: no figure")
    quick = parser.parse_args().quick
    report, random = Report("monitoring", TARGETS), np.random.default_rng(0)
    with tempfile.TemporaryDirectory(prefix="airloom-bench-") as folder:
        counted, small = list[float](), list[float]()
        for number in range(1 if quick else ROUNDS):
            many = _counted(Path(folder) / f"large{number}", random, 1 if quick else FILES, ROWS)
            few = _counted(Path(folder) / f"small{number}", random, 20 if quick else SMALL, 20)
            counted.append(many[0] / many[1])
            small.append((20 if quick else SMALL) / few[1])
        report.add("predictions_per_cpu_s", counted)
        report.add("small_files_per_cpu_s", small)
        report.add("month_query_ms", _months(Path(folder) / "months", random, *((3, 1) if quick else (MODELS, DAYS))))
    if quick:
        print(json.dumps(report.figures))
        return 0
    return report.finish()


def _settings(home: Path) -> Settings:
    home.mkdir()
    return Settings(home=home, project=home, database="", namespace="", metrics_minute_days=0)


def _counted(home: Path, random: np.random.Generator, files: int, rows: int) -> tuple[int, float]:
    """Predictions that were counted, and the seconds of CPU."""
    settings, first = _settings(home), int(time.time() * 1000) - 3_600_000
    for number in range(files):
        _write(settings.prediction_log, random, first + number * 5000, rows)
    aggregator, began = Aggregator(settings), time.process_time()
    predictions = aggregator.catch_up().predictions
    if predictions != files * rows:
        sys.exit(f"{predictions} predictions were counted of {files * rows}")
    return predictions, time.process_time() - began


def _write(folder: Path, random: np.random.Generator, first: int, rows: int) -> None:
    moments = np.sort(first + random.integers(0, 5000, rows))
    classes, roles = random.integers(0, 10, rows), np.where(random.random(rows) < 0.1, "canary", "champion")
    columns = {
        "id": numbered("digits", "1", first, np.arange(rows)),
        "time": pa.array(moments).cast(pa.timestamp("ms", "UTC")),
        "model": ["digits"] * rows,
        "version": np.where(roles == "canary", "2", "1"),
        "prediction": classes.astype(str),
        "value": classes.astype(float),
        "latency_ms": random.lognormal(0, 0.5, rows).astype(np.float32),
        "rows": np.ones(rows, np.int32),
        "role": roles,
        "score": random.beta(8, 1, rows).astype(np.float32),
    }
    path = folder / day(first) / file_name(first, int(moments[-1]), f"{first:012x}")
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.table(columns), path, compression="zstd", row_group_size=20_000)


def _months(home: Path, random: np.random.Generator, models: int, days: int) -> list[float]:
    """Milliseconds of each question."""
    settings, start = _settings(home), int(time.time()) // DAY * DAY - days * DAY
    counts: Counts = {}
    for minute in range(days * DAY // MINUTE):
        latency = np.unique(random.normal(0, 12, 60).astype(int), return_counts=True)
        answers = random.multinomial(60, [0.1] * 10)
        scores = np.unique((random.beta(8, 1, 60) * 100).astype(int), return_counts=True)
        counts[Place("model0", "1", "champion", start + minute * MINUTE)] = Cell(
            requests=60,
            predictions=60,
            latency=_histogram(*latency),
            scores=_histogram(*scores),
            answers={str(number): int(count) for number, count in enumerate(answers)},
        )
    metric_store.give(settings.database_address, Batch("month", "benchmark", counts))
    with metric_tables.engine(settings.database_address).begin() as connection:
        for number in range(1, models):
            for statement in _COPY:
                values = {"id": number + 1, "model": f"model{number}"}
                connection.execute(text(statement), {name: values[name] for name in values if f":{name}" in statement})
    since, took = datetime.fromtimestamp(start, UTC), list[float]()
    for number in random.permutation(models)[: max(3, models // 10)]:
        began = time.perf_counter()
        found = table(settings, ask(settings, f"model{number}", since=since, by="minute"))
        took.append((time.perf_counter() - began) * 1000)
        if found.num_rows != days * DAY // MINUTE:
            sys.exit(f"{found.num_rows} minutes were answered of {days * DAY // MINUTE}")
    return took


def _histogram(places: np.ndarray, counts: np.ndarray) -> dict[int, int]:
    return dict(zip(places.tolist(), counts.tolist(), strict=True))


if __name__ == "__main__":
    sys.exit(main())
