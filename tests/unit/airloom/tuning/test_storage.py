"""Where studies are kept: SQLite and PostgreSQL, open to plain Optuna, away for a while in mid-study."""

import os
import signal
import sqlite3
import threading
import time
from dataclasses import replace

import optuna  # noqa: TID253 - a test of Optuna code
import pytest
from services.postgres import server as postgres_server
from sqlalchemy import MetaData

from airloom import database
from airloom.errors import JobFailed, JobsAway
from airloom.tuning.study import create, open_study
from airloom.tuning.summary import finish
from airloom.tuning.worker.main import work


def wait_for(condition, seconds=200):
    until = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < until
        time.sleep(0.05)
    return found


def test_a_study_in_postgresql_survives_kills_and_a_server_that_is_away(settings, make, ctx, monkeypatch, runs, caplog):
    """The trial is killed, then the server is gone until the worker waits; both in mid-study, and no trial is lost."""
    pipeline = make(trials=3, parameters={"steps": 8, "sleep": 0.15})
    with postgres_server() as server:
        there = replace(settings, database=server.address)
        monkeypatch.setenv("AIRLOOM_DATABASE", server.address)
        create(there, pipeline, ctx)
        study = lambda: optuna.load_study(study_name=ctx.key, storage=server.address)  # noqa: E731 - read from outside
        past = lambda: [t for t in study().trials if t.state.name == "RUNNING" and (t.last_step or 0) >= 2]  # noqa: E731

        def disturb():
            os.kill(wait_for(past)[0].user_attrs["pid"], signal.SIGKILL)
            wait_for(lambda: len(study().trials) > 1 and past())
            server.stop()
            wait_for(lambda: "the database is away" in caplog.text)
            server.start()

        thread = threading.Thread(target=disturb)
        thread.start()
        done = work(there, pipeline, ctx, 0)
        thread.join()
        assert (done["trials"], done["failed"]) == (3, 0)
        states = [trial.state.name for trial in study().trials]
        assert (states.count("COMPLETE"), states.count("RUNNING")) == (3, 0)
        assert finish(there, pipeline, ctx).trials == 3
        assert len(runs()) == 3


def test_a_sqlite_study_waits_while_its_file_is_locked(settings, make, ctx, tune, rows):
    pipeline = make(trials=2, parameters={"steps": 4, "sleep": 0.1})
    create(settings, pipeline, ctx)

    def lock():
        wait_for(lambda: rows() and rows()[0].last_step is not None)
        holder = sqlite3.connect(settings.home / "optuna.db", isolation_level=None)
        holder.execute("BEGIN EXCLUSIVE")
        time.sleep(4)
        holder.execute("ROLLBACK")

    thread = threading.Thread(target=lock)
    thread.start()
    assert work(settings, pipeline, ctx, 0)["trials"] == 2
    thread.join()
    assert [row.state.name for row in rows()] == ["COMPLETE"] * 2


def test_plain_optuna_opens_the_study(settings, make, ctx, tune):
    tune(make(trials=2))
    found = optuna.load_study(study_name=ctx.key, storage=f"sqlite:///{settings.home / 'optuna.db'}")
    assert [trial.state.name for trial in found.trials] == ["COMPLETE"] * 2
    mode = sqlite3.connect(settings.home / "optuna.db").execute("PRAGMA journal_mode").fetchone()
    assert mode == ("wal",)


def test_opening_what_is_not_there_makes_nothing(settings):
    with pytest.raises(JobFailed, match="there is no study other/1"):
        open_study(settings, "other/1")
    assert not (settings.home / "optuna.db").exists()


def test_patience_ends_and_only_a_lost_database_is_waited_for(tmp_path):
    address = f"sqlite:///{tmp_path / 'missing' / 'a.db'}"
    began = time.monotonic()
    with pytest.raises(JobsAway, match=r"does not answer for 1 s: .*unable to open"):
        database.patiently(lambda: database.engine(address, MetaData()).connect(), patience=1.0)
    with pytest.raises(ValueError, match="mine"):
        database.patiently(_raise)
    assert time.monotonic() - began < 60


def _raise():
    raise ValueError("mine")
