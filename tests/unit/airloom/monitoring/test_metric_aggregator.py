"""The aggregator over a prediction log: killed anywhere, two at once, files merged or rewritten, a database away."""

import json
import os
import random
import signal
import sqlite3
import subprocess
import sys
import time
from dataclasses import replace

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from served.segments import MIDNIGHT, prediction, write_segment

from airloom.errors import JobsAway
from airloom.monitoring import metric_aggregator as aggregation
from airloom.monitoring.metric_aggregator import Aggregator, now, segments
from airloom.monitoring.metric_query import ask, records, table

AGGREGATE = """
import sys
from pathlib import Path
from airloom.monitoring.metric_aggregator import Aggregator
from airloom.settings import Settings
settings = Settings(home=Path(sys.argv[1]), project=Path(sys.argv[1]), metrics_minute_days=0)
print("ready", flush=True)
sys.stdin.readline()
print(Aggregator(settings).catch_up(lambda done, of: print(done, flush=True)), flush=True)
"""


def counted(settings, **more):
    """Predictions in the store, of all time."""
    return sum(row.predictions for row in records(table(settings, ask(settings, "digits", since="2020-01-01", **more))))


def begun(settings):
    environment = {**os.environ, "AIRLOOM_DATABASE": settings.database_address}
    pipe = subprocess.PIPE
    command = [sys.executable, "-c", AGGREGATE, str(settings.home)]
    process = subprocess.Popen(command, env=environment, stdin=pipe, stdout=pipe, stderr=subprocess.STDOUT, text=True)
    assert process.stdout.readline() == "ready\n"
    return process


def go(process):
    process.stdin.write("\n")
    process.stdin.flush()


def test_what_was_counted_is_not_counted_again_and_what_comes_is_added(settings):
    write_segment(settings.prediction_log, [prediction(), prediction(at=61)])
    assert now(settings).predictions == 2
    aggregator = Aggregator(settings)
    assert aggregator.catch_up().segments == 0
    write_segment(settings.prediction_log, [prediction(at=62, role="shadow", score=0.5)])
    assert (aggregator.catch_up().predictions, aggregator.catch_up().predictions) == (1, 0)
    assert (counted(settings), counted(settings, by="minute")) == (3, 3)


def test_before_the_first_prediction_no_database_is_made(settings):
    assert now(settings).segments == 0
    assert not (settings.home / "airloom.db").exists()


def test_killed_between_or_within_any_files_it_catches_up(settings):
    for number in range(30):
        write_segment(settings.prediction_log, [prediction(at=number * 50), prediction(at=number * 50 + 1)])
    drawn = random.Random(7)
    for _ in range(3):
        process = begun(settings)
        go(process)
        for _ in range(drawn.randint(1, 8)):  # files, and then somewhere in the next one
            process.stdout.readline()
        time.sleep(drawn.random() * 0.01)
        process.kill()
        process.communicate()
        assert process.returncode in (-signal.SIGKILL, 0)
        assert counted(settings) % 2 == 0  # files are counted whole
    assert counted(settings) < 60
    now(settings)
    assert (counted(settings), counted(settings, by="day"), counted(settings, by="minute")) == (60, 60, 60)


def test_two_at_once_count_each_file_once(settings):
    for number in range(20):
        write_segment(settings.prediction_log, [prediction(at=number)])
    both = [begun(settings) for _ in range(2)]
    for process in both:
        go(process)
    answers = [process.communicate(timeout=100)[0] for process in both]
    assert all("CaughtUp" in answer for answer in answers), answers
    assert counted(settings) == 20


@pytest.mark.parametrize("counted_before", [0, 1, 3])
def test_files_that_were_merged_are_counted_once(settings, counted_before):
    parts = [write_segment(settings.prediction_log, [prediction(at=n), prediction(at=n + 60)]) for n in range(3)]
    hidden = [part.rename(part.with_name(f".{part.name}")) for part in parts[counted_before:]]
    now(settings)
    assert counted(settings) == (2 * counted_before)
    names = json.dumps([part.name for part in parts]).encode()
    rows = [prediction(at=n + more) for n in range(3) for more in (0, 60)]
    write_segment(settings.prediction_log, rows, f"{MIDNIGHT:012x}-{MIDNIGHT:012x}-mabc.parquet", names)
    for path in (*parts[:counted_before], *hidden):
        path.unlink()
    now(settings)
    now(settings)
    assert (counted(settings), counted(settings, by="minute"), counted(settings, by="hour")) == (6, 6, 6)


def test_a_row_that_was_forgotten_before_its_file_was_merged_takes_nothing_elses_count(settings):
    part = write_segment(settings.prediction_log, [prediction(at=1), prediction(at=2)])
    now(settings)
    names = json.dumps([part.name]).encode()
    write_segment(settings.prediction_log, [prediction(at=2)], f"{MIDNIGHT:012x}-{MIDNIGHT:012x}-mabc.parquet", names)
    part.unlink()
    now(settings)
    assert counted(settings) == 1


def test_a_state_folder_that_was_moved_reads_no_file_again(settings, monkeypatch):
    write_segment(settings.prediction_log, [prediction()])
    now(settings)
    moved = settings.home.rename(settings.home.with_name("moved"))
    monkeypatch.setattr(aggregation.metric_segments, "read", None)
    assert now(replace(settings, home=moved)).segments == 0


def test_a_damaged_file_stops_nothing_and_counts_once_it_is_mended(settings, caplog):
    good = write_segment(settings.prediction_log, [prediction(at=5)])
    bad = write_segment(settings.prediction_log, [prediction()])
    content = bad.read_bytes()
    bad.write_bytes(content[:50])
    aggregator = Aggregator(settings)
    for _ in range(2):
        assert len(aggregator.catch_up().damaged) == 1
    assert [bad.name in record.getMessage() for record in caplog.records] == [True]
    bad.write_bytes(content)
    assert aggregator.catch_up().predictions == 1
    assert counted(settings) == 2
    assert good.exists()


def test_rows_that_name_nothing_are_told_and_left_out(settings, caplog):
    write_segment(settings.prediction_log, [prediction(), prediction(model=None), prediction(role="king")])
    assert (now(settings).refused, counted(settings)) == (2, 1)
    assert "2 rows name no model" in caplog.text


def test_a_half_written_file_and_foreign_ones_are_left_alone(settings):
    path = write_segment(settings.prediction_log, [prediction()])
    path.rename(path.with_name(".abc"))
    (settings.prediction_log / "notes.txt").write_text("x")
    (path.parent / "part-0.parquet").write_text("x")
    assert segments(path.parent) == []


def test_a_day_that_did_not_change_is_not_looked_through_again(settings, monkeypatch):
    day = write_segment(settings.prediction_log, [prediction()]).parent
    aggregator, looks, listdir = Aggregator(settings), [], os.listdir
    monkeypatch.setattr(aggregation.os, "listdir", lambda folder: looks.append(folder) or listdir(folder))
    for _ in range(2):  # it may be changing still
        aggregator.catch_up()
    assert len(looks) == 2
    os.utime(day, (1, 1))
    for _ in range(3):
        aggregator.catch_up()
    assert len(looks) == 3
    write_segment(settings.prediction_log, [prediction()])
    assert (aggregator.catch_up().predictions, len(looks)) == (1, 4)


def test_a_database_that_is_locked_is_waited_for_and_then_named(settings, monkeypatch):
    write_segment(settings.prediction_log, [prediction()])
    now(settings)
    write_segment(settings.prediction_log, [prediction(at=1)])
    other = sqlite3.connect(settings.home / "airloom.db", isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    monkeypatch.setattr(aggregation, "PATIENCE", 0.0)
    give = aggregation.metric_store.give
    monkeypatch.setattr(aggregation.metric_store, "give", lambda address, batch: give(address, batch, 0.2))
    with pytest.raises(JobsAway, match="does not answer"):
        now(settings)
    other.execute("ROLLBACK")
    now(settings)
    assert counted(settings) == 2


def test_tidying_forgets_files_that_are_gone_and_no_count(settings, monkeypatch):
    path = write_segment(settings.prediction_log, [prediction()])
    stays = write_segment(settings.prediction_log, [prediction(at=9)])
    aggregator = Aggregator(settings)
    aggregator.catch_up()
    path.unlink()
    aggregator.tidy()
    clock = time.time() + aggregation.metric_store.FORGET + 1
    monkeypatch.setattr(aggregation.metric_store.time, "time", lambda: clock)
    whole = stays.with_name(".whole-x")
    whole.touch()
    aggregator.tidy()
    assert path.name in aggregation.metric_store.names_of(settings.database_address, aggregator.source)
    whole.unlink()
    aggregator.tidy()
    assert aggregation.metric_store.names_of(settings.database_address, aggregator.source) == {stays.name}
    assert (aggregator.catch_up().segments, counted(settings)) == (0, 2)


def test_the_thread_goes_on_after_whatever_happens(settings, monkeypatch, caplog):
    looks = []

    class Broken(Aggregator):
        def catch_up(self, tell=None):
            looks.append(1)
            if len(looks) < 3:
                raise ValueError("the disk is gone\nand more")
            return super().catch_up(tell)

    monkeypatch.setattr(aggregation, "Aggregator", Broken)
    monkeypatch.setattr(aggregation, "EVERY", 0.01)
    write_segment(settings.prediction_log, [prediction()])
    aggregation.start(settings)
    until = time.monotonic() + 20
    while time.monotonic() < until and counted(settings) == 0:
        time.sleep(0.05)
    assert counted(settings) == 1
    assert caplog.text.count("the disk is gone") == 1


def test_what_pyarrow_writes_otherwise_is_read_too(settings):
    path = write_segment(settings.prediction_log, [prediction()])
    rows = pq.read_table(path, partitioning=None)
    seconds = rows["time"].cast(pa.timestamp("us", "UTC"))
    large = rows["model"].cast(pa.large_string()).combine_chunks().dictionary_encode()
    rows = rows.set_column(0, "time", seconds).set_column(1, "model", large)
    pq.write_table(rows, path)
    assert now(settings).predictions == 1
