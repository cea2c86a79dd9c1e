"""Counts that stand in the database: under restart, kill, two writers, and while it is away."""

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from airloom.monitoring.totals import predictions
from airloom.settings import Settings
from airloom_serving.counter import PredictionCounter

COUNTING = """
import sys, time
from airloom_serving.counter import PredictionCounter
counter = PredictionCounter(sys.argv[1])
counter.start()
number = 0
while True:
    counter.add("digits", "1", 10)
    number += 10
    print(number, flush=True)
    time.sleep(0.01)
"""


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(home=tmp_path, project=tmp_path, database="")


def test_before_the_first_server_nothing_is_counted(settings: Settings) -> None:
    assert predictions(settings) == {}
    assert not Path(settings.database_address.removeprefix("sqlite:///")).exists()


def test_counts_of_all_threads_processes_and_versions_are_added(settings: Settings) -> None:
    for _ in range(2):  # a server, and its next start
        counter = PredictionCounter(settings.database_address)
        counter.start()
        threads = [
            threading.Thread(target=lambda: [counter.add("digits", str(n % 2), 3) for n in range(1000)])  # noqa: B023
            for _ in range(4)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        counter.stop()
    assert predictions(settings) == {("digits", "0"): 12_000, ("digits", "1"): 12_000}


def test_a_write_that_is_done_twice_counts_once(settings: Settings) -> None:
    counter = PredictionCounter(settings.database_address)
    counter.add("digits", "1", 5)
    assert counter.flush()
    counter._changed.add(("digits", "1"))  # as after a connection that broke behind the commit
    assert counter.flush()
    assert predictions(settings) == {("digits", "1"): 5}


def test_a_killed_server_loses_about_a_second(settings: Settings) -> None:
    command = [sys.executable, "-c", COUNTING, settings.database_address]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    told = [(time.monotonic(), int(process.stdout.readline())) for _ in range(250)]
    at = time.monotonic()
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    counted = predictions(settings)[("digits", "1")]
    process.stdout.close()
    assert counted <= told[-1][1] + 1000  # what was printed and not read
    assert counted >= max(number for when, number in told if when < at - 2)
    assert counted % 10 == 0


def test_a_database_that_is_away_delays_no_answer_and_catches_up(tmp_path: Path) -> None:
    place = tmp_path / "place"
    place.write_text("no folder")  # so that SQLite can open nothing in it
    settings = Settings(home=place, project=tmp_path, database="")
    counter = PredictionCounter(settings.database_address)
    counter.start()
    began = time.monotonic()
    for _ in range(10_000):
        counter.add("digits", "1", 1)
    assert time.monotonic() - began < 20  # a hundredth of a second for each would take a hundred
    _until(lambda: counter.problem)
    place.unlink()
    place.mkdir()
    counter.add("digits", "2", 7)
    _until(lambda: predictions(settings) == {("digits", "1"): 10_000, ("digits", "2"): 7})
    assert counter.problem == ""
    counter.stop()


def _until(condition, seconds: float = 60) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.05)
