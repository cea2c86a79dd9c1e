"""The log as others read it: typed, in whole files, bounded, sampled; and the row of an id."""

import os
import subprocess
import sys
import threading
import time
from collections import Counter
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd  # noqa: TID253 - one of the readers
import pyarrow.parquet as pq
import pytest

from airloom.monitoring import prediction_id
from airloom.monitoring import prediction_log as form
from airloom.monitoring import prediction_query as query
from airloom.monitoring.segment_retention import Limits
from airloom.settings import Settings
from airloom_serving import prediction_log as writing
from airloom_serving.logged_rows import TURN, TURN_REQUESTS, Answered, Inputs, turns
from airloom_serving.prediction_log import PredictionLog, write


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(home=tmp_path, project=tmp_path)


def answers(count: int, values: list | None = None, version: str = "1") -> Answered:
    ids = [prediction_id.new("digits", version) for _ in range(count)]
    return Answered("digits", version, ids, values or list(range(count)), 1.5, count)


def files(settings: Settings) -> list[Path]:
    return sorted(settings.prediction_log.rglob("*.parquet"))


def test_what_is_answered_is_found_by_its_id(settings: Settings) -> None:
    taken = [answers(3, ["cat", 7, 0.25]), answers(1, [True]), answers(2, version="2")]
    log = PredictionLog(settings.prediction_log)
    log.start()
    for one in taken:
        log.add(one)
    log.stop()
    rows = [form.find(settings, identity) for identity in taken[0].ids]
    assert [row.prediction for row in rows] == ["cat", "7", "0.25"]
    assert [row.value for row in rows] == [None, 7.0, 0.25]
    assert {(row.model, row.version, row.latency_ms, row.rows) for row in rows} == {("digits", "1", 1.5, 3)}
    assert all(abs(row.time - datetime.now(UTC)) < timedelta(minutes=1) for row in rows)
    assert form.find(settings, taken[2].ids[1].upper()).version == "2"
    assert form.find(settings, prediction_id.new("digits", "1")) is None
    assert log.dropped == 0


def test_plain_readers_see_the_documented_columns(settings: Settings) -> None:
    (file,) = write(settings.prediction_log, [answers(5), answers(5)])
    assert pq.read_metadata(file).metadata[b"airloom.prediction_log"] == b"2"
    assert file.parent.name == f"date={datetime.now(UTC):%Y-%m-%d}"
    assert pq.read_schema(file).equals(form.schema())
    frame = pd.read_parquet(settings.prediction_log)
    assert len(frame) == 10
    assert str(frame["time"].dtype) == "datetime64[ms, UTC]"
    assert list(frame.columns) == [*form.schema().names, "date"]


def test_a_day_ends_at_midnight_in_utc(settings: Settings, monkeypatch) -> None:
    midnight = int(datetime(2026, 11, 28, tzinfo=UTC).timestamp() * 1000)
    ids = []
    for milliseconds in (midnight - 1, midnight, midnight + 1):
        monkeypatch.setattr(time, "time_ns", lambda now=milliseconds: now * 1_000_000)
        ids.append(prediction_id.new("digits", "1"))
    made = write(settings.prediction_log, [Answered("digits", "1", ids, [1, 2, 3], 1.0, 3)])
    assert [file.parent.name for file in made] == ["date=2026-11-27", "date=2026-11-28"]
    assert [form.find(settings, one).value for one in ids] == [1, 2, 3]
    start = datetime(2026, 11, 27, tzinfo=UTC)

    def between(since: datetime, until: datetime) -> list[str]:
        return query.table(settings, query.Question(since=since, until=until))["id"].to_pylist()

    assert between(start, start + timedelta(days=1)) == ids[:1]
    assert between(start, start + timedelta(days=2)) == ids
    assert between(start - timedelta(days=2), start) == []


def test_a_share_is_kept(settings: Settings) -> None:
    log = PredictionLog(settings.prediction_log, 0.1)
    log.start()
    log.add(answers(20_000))
    log.add(answers(1))
    log.stop()
    frame = pd.read_parquet(settings.prediction_log)
    assert 1_700 < len(frame) < 2_300
    assert set(frame["rows"]) <= {20_000, 1}
    assert log.dropped == 0


def test_what_does_not_fit_is_dropped_and_counted(settings: Settings, monkeypatch) -> None:
    monkeypatch.setattr(writing, "CAPACITY", 100)
    log = PredictionLog(settings.prediction_log)
    for _ in range(15):
        log.add(answers(10))
    assert log.dropped == 50
    log.start()
    log.stop()
    assert sum(pq.read_metadata(file).num_rows for file in files(settings)) == 100


def test_a_disk_that_takes_nothing_drops_and_counts(settings: Settings) -> None:
    settings.prediction_log.write_text("no folder")
    log = PredictionLog(settings.prediction_log)
    log.start()
    log.add(answers(10))
    log.stop()
    assert log.dropped == 10


def test_what_a_killed_server_left_half_written_is_swept_and_never_read(settings: Settings, monkeypatch) -> None:
    write(settings.prediction_log, [answers(5)])
    folder = files(settings)[0].parent
    for name, age in {".old": 7200, ".new": 10}.items():
        (folder / name).write_bytes(b"PAR1 half")
        os.utime(folder / name, (time.time() - age, time.time() - age))
    assert len(pd.read_parquet(settings.prediction_log)) == 5
    log = PredictionLog(settings.prediction_log)
    log.start()
    log.stop()
    assert [path.name for path in folder.glob(".*")] == [".new"]


def test_files_of_other_times_are_not_opened(settings: Settings, monkeypatch) -> None:
    first = answers(3)
    write(settings.prediction_log, [first])
    time.sleep(0.01)
    second = answers(3)
    write(settings.prediction_log, [second])
    early = next(file for file in files(settings) if file.name < files(settings)[-1].name)
    early.write_bytes(b"broken")
    assert form.find(settings, second.ids[0]).id == second.ids[0]


def test_a_flush_makes_all_that_was_added_visible_within_a_second(settings: Settings) -> None:
    log = PredictionLog(settings.prediction_log)
    log.start()
    log.add(answers(3000))
    began = time.process_time()  # of the CPU: the machine may be busy
    assert log.flush(60)
    seen = query.table(settings).num_rows
    took = time.process_time() - began
    log.stop()
    assert seen == 3000
    assert took < 1


def test_the_interpreter_is_given_back_after_each_few_rows() -> None:
    made = list(turns([answers(1) for _ in range(TURN + 5)] + [answers(3 * TURN + 1)]))
    rows = [sum(part.rows for part in turn) for turn in made]
    assert sum(rows) == 4 * TURN + 6
    assert max(rows) <= TURN
    assert max(map(len, made)) <= TURN_REQUESTS


@pytest.mark.parametrize("rows", [1, 3, 500])
def test_rows_with_many_bytes_are_fewer_in_a_turn(rows: int) -> None:
    inputs = Inputs(SimpleNamespace(), {"x": np.zeros((rows, 1 << 13))})  # 64 kB a row
    made = list(turns([answers(rows)._replace(inputs=inputs) for _ in range(12)]))
    assert sum(part.rows for turn in made for part in turn) == 12 * rows
    assert max(sum(part.rows for part in turn) for turn in made) == (4 if rows != 3 else 3)


def test_who_answers_waits_for_no_disk(settings: Settings, monkeypatch) -> None:
    slow = threading.Event()
    monkeypatch.setattr(writing, "write_batches", lambda *_: slow.wait(10))
    log = PredictionLog(settings.prediction_log)
    log.start()
    log.add(answers(1))
    log._wake.set()
    time.sleep(0.3)  # the thread is at the disk
    began = time.monotonic()
    for _ in range(100):
        log.add(answers(1))
    took = time.monotonic() - began
    slow.set()
    log.stop()
    assert took < 0.2


def test_what_is_lost_is_counted_for_metrics(settings: Settings, monkeypatch) -> None:
    def full(_: object, where: Path, **__: object) -> None:
        where.write_bytes(b"PAR1 half")
        raise OSError(28, "No space left on device")

    dropped: list[int] = []
    written: list[int] = []
    log = PredictionLog(settings.prediction_log, count_dropped=dropped.append, count_written=written.append)
    log.start()
    log.add(answers(10))
    assert log.flush()
    monkeypatch.setattr(pq, "write_table", full)
    log.add(answers(7))
    log.add(answers(4, [1, 2, 3, object()]))  # whatever a graph answers has a text
    assert log.flush()
    monkeypatch.undo()
    log.add(answers(5))  # there is room again
    log.stop()
    assert (sum(dropped), sum(written), log.dropped) == (11, 15, 11)
    assert query.table(settings).num_rows == 15
    assert not [*settings.prediction_log.rglob(".*")]


def test_inputs_that_fill_memory_are_dropped_and_counted(settings: Settings, monkeypatch) -> None:
    monkeypatch.setattr(writing, "CAPACITY_BYTES", 1000)
    log = PredictionLog(settings.prediction_log)
    heavy = SimpleNamespace(texts=lambda _, rows: [("{}", "full")] * rows)
    for _ in range(3):
        log.add(answers(2)._replace(inputs=Inputs(heavy, {"x": ["a" * 200, "b" * 200]})))
    log.add(answers(1))
    assert (log.dropped, log.waiting) == (2, 5)
    log.start()
    log.stop()
    assert Counter(query.table(settings)["inputs"].to_pylist()) == {"{}": 4, None: 1}


def test_all_that_was_written_stays_after_a_kill(settings: Settings) -> None:
    code = """
import sys, time
from pathlib import Path
from airloom.monitoring import prediction_id
from airloom_serving.logged_rows import Answered
from airloom_serving.prediction_log import PredictionLog
log = PredictionLog(Path(sys.argv[1]), count_written=lambda rows: print(rows, flush=True))
log.start()
while True:
    log.add(Answered("digits", "1", prediction_id.several("digits", "1", 100), [1] * 100, 1.0, 100))
    log.flush()
"""
    process = subprocess.Popen([sys.executable, "-c", code, settings.prediction_log], stdout=subprocess.PIPE, text=True)
    written = sum(int(process.stdout.readline()) for _ in range(20))
    process.kill()
    written += sum(map(int, process.stdout.read().split()))
    process.wait()
    process.stdout.close()
    assert query.table(settings).num_rows in (written, written + 100)  # it may not have come to say the last


def test_the_server_removes_what_is_beyond_the_limits(settings: Settings) -> None:
    (old,) = write(settings.prediction_log, [answers(5)])
    moved = old.with_name(form.file_name(1, 2, "0" * 12))
    old.rename(moved)
    log = PredictionLog(settings.prediction_log, limits=Limits(days=1))
    log.start()
    log.add(answers(5))
    log.stop()
    assert not moved.exists()
    assert query.table(settings).num_rows == 5


def test_files_of_an_earlier_release_are_read_beside_new_ones(settings: Settings) -> None:
    first = answers(2)
    (file,) = write(settings.prediction_log, [first])
    old = pq.read_table(file).select(form.schema().names[:8]).replace_schema_metadata(None)
    pq.write_table(old, file)
    second = answers(1)._replace(role="canary", request="r1", trace="t1")
    write(settings.prediction_log, [second])
    assert form.find(settings, first.ids[1]) == form.LoggedPrediction(
        first.ids[1], prediction_id.given_at(first.ids[1]), "digits", "1", "1", 1.0, 1.5, 2
    )
    found = form.find(settings, second.ids[0])
    assert (found.role, found.request, found.trace, found.inputs_by) == ("canary", "r1", "t1", "drop")
    assert query.table(settings)["role"].to_pylist() == ["champion", "champion", "canary"]
    roles = {role: query.Question(role=role) for role in query.ROLES}
    assert {role: query.table(settings, asked).num_rows for role, asked in roles.items()} == {
        "champion": 2,
        "canary": 1,
        "shadow": 0,
    }


def test_one_row_of_many_is_found_in_one_row_group_of_one_file(settings: Settings, monkeypatch) -> None:
    monkeypatch.setattr(writing, "GROUP", 50)
    made = []
    for _ in range(20):
        made.append(answers(200))
        write(settings.prediction_log, made[-1:])
        time.sleep(0.002)
    opened, read = [], []

    class Counted(pq.ParquetFile):
        def __init__(self, source: object, *arguments: object, **options: object) -> None:
            opened.append(source)
            super().__init__(source, *arguments, **options)

        def read_row_group(self, group: int, *arguments: object, **options: object) -> object:
            read.append(group)
            return super().read_row_group(group, *arguments, **options)

    monkeypatch.setattr(pq, "ParquetFile", Counted)
    wanted = made[13].ids[120]
    assert form.find(settings, wanted).id == wanted
    assert len(opened) == 1
    assert len(set(read)) == 1  # once its ids, once the other columns
    assert len(read) == 2


def test_a_log_that_is_stopped_while_its_thread_looks_writes_all(settings: Settings, monkeypatch) -> None:
    log = PredictionLog(settings.prediction_log)

    def told_late(_: float) -> bool:
        """The wait ends by itself, and the end is said before the thread goes on."""
        log._ending = True
        return False

    monkeypatch.setattr(log._wake, "wait", told_late)
    log.add(answers(5))
    log.start()
    log._thread.join(timeout=30)
    assert query.table(settings).num_rows == 5
