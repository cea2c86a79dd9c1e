"""Requests and errors come to the model metrics once, by minute, role and kind, also after the database was away."""

import sqlite3
import threading
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace

import pytest

from airloom.errors import InstancesRefused
from airloom.inference.model import Ended, NotFinite
from airloom.monitoring.metric_query import ask, records, table
from airloom.settings import Settings
from airloom_serving import request_minutes
from airloom_serving.request_minutes import RequestMinutes
from airloom_serving.served import Busy, TookTooLong

MODEL = SimpleNamespace(name="digits", version="1")


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(home=tmp_path, project=tmp_path, database="", namespace="", metrics_minute_days=0)


@pytest.fixture
def minutes(settings: Settings) -> RequestMinutes:
    return RequestMinutes(settings.database_address)


def stored(settings: Settings, by: str = "") -> dict:
    rows = records(table(settings, ask(settings, "digits", since="2020-01-01", by=by)))
    return {(row.start[11:16] if by else row.role): (row.requests, row.errors) for row in rows}


def test_each_request_is_counted_as_it_ends(settings: Settings, minutes: RequestMinutes) -> None:
    kinds = [NotFinite("x", ""), InstancesRefused("x", ""), Busy("x"), TookTooLong("x"), Ended("x"), OSError("x")]
    for error in kinds:
        with pytest.raises(type(error)), minutes.request(MODEL, "canary"):
            raise error
    with minutes.request(MODEL, ""):
        pass
    with pytest.raises(GeneratorExit), minutes.request(MODEL, ""):
        raise GeneratorExit  # the client has gone away
    assert minutes.flush()
    errors = {"not finite": 1, "refused": 1, "busy": 1, "too slow": 2, "failed": 1}
    assert stored(settings) == {"champion": (1, {}), "canary": (6, errors)}


def test_nothing_is_written_where_nothing_was_asked(settings: Settings, minutes: RequestMinutes) -> None:
    assert minutes.flush()
    assert not (settings.home / "airloom.db").exists()


def test_a_write_whose_answer_was_lost_counts_once(settings, minutes, monkeypatch) -> None:
    give = request_minutes.give

    def broken(*arguments):
        give(*arguments)
        raise OSError("the connection broke")

    minutes.add(MODEL, "")
    monkeypatch.setattr(request_minutes, "give", broken)
    assert not minutes.flush()
    minutes.add(MODEL, "")  # of a later batch
    assert not minutes.flush()
    monkeypatch.setattr(request_minutes, "give", give)
    assert minutes.flush()
    assert stored(settings) == {"champion": (2, {})}


def test_a_database_that_is_away_for_minutes_loses_nothing_and_each_keeps_its_minute(
    settings, minutes, monkeypatch
) -> None:
    monkeypatch.setattr(request_minutes, "LOCKED", 0.1)
    noon = datetime(2026, 11, 30, 12, tzinfo=UTC).timestamp()
    minutes.add(MODEL, "")
    assert minutes.flush()
    other = sqlite3.connect(settings.home / "airloom.db", isolation_level=None)
    other.execute("DELETE FROM metric_cells")
    other.execute("BEGIN IMMEDIATE")
    for minute in range(3):
        monkeypatch.setattr(request_minutes.time, "time", lambda at=noon + 60 * minute: at)
        minutes.add(MODEL, "")
        assert not minutes.flush()
    other.execute("ROLLBACK")
    assert minutes.flush()
    assert stored(settings, "minute") == {f"12:0{minute}": (1, {}) for minute in range(3)}


def test_all_threads_and_the_end_of_the_server_are_counted(settings: Settings, minutes: RequestMinutes) -> None:
    minutes.start()
    threads = [threading.Thread(target=lambda: [minutes.add(MODEL, "") for _ in range(500)]) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    minutes.stop()
    assert stored(settings) == {"champion": (2000, {})}
