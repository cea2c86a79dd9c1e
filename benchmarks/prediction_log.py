"""How long one row of ten million takes to be found by its id, and what writing them costs.

`find_ms`: `airloom.monitoring.prediction_log.find`, in this process, the files not in the machine's cache; the slowest
of each run counts. `rows_per_cpu_s`: what the server's own thread does, from answers to files. `last_ms`: the newest
twenty. `python -m benchmarks.prediction_log --rows 100000` makes fewer, and keeps no result.
"""

import argparse
import json
import os
import random
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from airloom.monitoring import prediction_id, prediction_log, prediction_query
from airloom.settings import Settings
from airloom_serving.logged_rows import Answered
from airloom_serving.prediction_log import CAPACITY, PredictionLog
from benchmarks._report import Report, Target

ROWS, REQUEST, MODELS, LOOKS, RUNS = 10_000_000, 100, 4, 50, 5
SPREAD = 86_400_000  # milliseconds over which the rows lie: a day


def main(arguments: list[str]) -> int:
    """Write, look, report; 1 when a target is missed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=ROWS)
    rows = parser.parse_args(arguments).rows
    targets: dict[str, Target | None] = {"find_ms": ("<=", 100), "last_ms": ("<=", 100), "rows_per_cpu_s": None}
    report = Report("prediction_log", targets)
    with tempfile.TemporaryDirectory(prefix="airloom-bench-") as folder:
        settings = Settings(home=Path(folder), project=Path(folder), tracking_uri="", database="")
        some, cpu = _write(settings, rows)
        files = list(settings.prediction_log.rglob("*.parquet"))
        report.add("find_ms", [max(_found(settings, some)) for _ in range(RUNS)])
        report.add("last_ms", [_last(settings) for _ in range(RUNS)])
        report.add("rows_per_cpu_s", [rows / cpu])
        report.note(rows=rows, files=len(files), megabytes=sum(file.stat().st_size for file in files) / 1e6)
    if rows < ROWS:
        print(json.dumps(report.figures | report.facts))
        return 0
    return report.finish()


def _write(settings: Settings, rows: int) -> tuple[list[str], float]:
    """Some of the ids, and seconds of CPU."""
    log, generator, some = PredictionLog(settings.prediction_log), np.random.default_rng(0), list[str]()
    start = int(time.time() * 1000) - SPREAD
    began = time.process_time()
    log.start()
    for number in range(rows // REQUEST):
        model, at = f"m{number % MODELS}", start + number * SPREAD * REQUEST // rows
        numbers = generator.integers(0, prediction_id.NUMBERS, REQUEST, np.int64)
        ids = prediction_id.numbered(model, "1", at, numbers)
        while log.waiting > CAPACITY // 2:  # a client that asks no quicker than the disk writes
            time.sleep(0.01)
        log.add(Answered(model, "1", ids, [n % 10 for n in range(REQUEST)], 1.5, REQUEST))
        if number % max(1, rows // REQUEST // 1000) == 0:
            some.append(ids[number % REQUEST])
    log.flush(600)
    log.stop()
    assert log.dropped == 0
    return some, time.process_time() - began


def _found(settings: Settings, some: list[str]) -> list[float]:
    took = []
    for wanted in random.sample(some, min(LOOKS, len(some))):
        _out_of_cache(settings.prediction_log)
        began = time.perf_counter()
        row = prediction_log.find(settings, wanted)
        took.append((time.perf_counter() - began) * 1000)
        assert row is not None
        assert row.id == wanted
    return took


def _last(settings: Settings) -> float:
    _out_of_cache(settings.prediction_log)
    began = time.perf_counter()
    assert prediction_query.table(settings, None, 20).num_rows == 20
    return (time.perf_counter() - began) * 1000


def _out_of_cache(folder: Path) -> None:
    for path in folder.rglob("*.parquet"):
        descriptor = os.open(path, os.O_RDONLY)
        try:
            os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
        finally:
            os.close(descriptor)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
