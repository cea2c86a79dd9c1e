"""The log as others read it: typed, in whole files, bounded, sampled; and the row of an id."""

import os
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pandas as pd  # noqa: TID253 - one of the readers
import pyarrow.parquet as pq
import pytest

from airloom.monitoring import prediction_id
from airloom.monitoring import prediction_log as form
from airloom.settings import Settings
from airloom_serving import prediction_log as writing
from airloom_serving.prediction_log import Answered, PredictionLog, write


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
    assert form.read(settings, start, start + timedelta(days=1))["id"].to_pylist() == ids[:1]
    assert form.read(settings, start, start + timedelta(days=2))["id"].to_pylist() == ids
    assert form.read(settings, start - timedelta(days=2), start).num_rows == 0


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
