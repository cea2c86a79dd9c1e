"""Files of a job that a full disk or a power cut has emptied: the file and what next, never a traceback."""

import os
import time

import pytest

from airloom.errors import CorruptFile
from airloom.jobs import devices, files, supervise
from airloom.jobs.launch_record import read_launch
from airloom.jobs.results import read_result
from airloom.jobs.states import LAUNCHING, LOST, SUCCEEDED
from airloom.jobs.submit import settle
from airloom.jobs.table import Attempts
from airloom.jobs.wait import value

NONSENSE = ["", "{", "[1]", "null", "[" * 100_000]
nonsense = pytest.mark.parametrize("text", NONSENSE, ids=["empty", "half", "list", "null", "deep"])


@pytest.fixture
def attempt(settings):
    """One that succeeded as a step, in the table and in its folder."""
    folder = files.make_attempt(settings.make_home(), "k", 1)
    files.write(folder / files.LAUNCH, {"spec": {"step": "module:function"}, "protocol": 2})
    files.write(folder / files.RESULT, {"ok": True, "value": {"x": 1}})
    row = {"key": "k", "number": 1, "folder": str(folder), "name": "module:function", "task": {}}
    return Attempts(settings.database_address).add(row | {"state": SUCCEEDED})


def test_a_result_that_is_whole_is_returned(attempt):
    assert value(attempt) == {"x": 1}


@nonsense
def test_a_result_lost_since_the_job_succeeded_is_named(attempt, text):
    (attempt.path / files.RESULT).write_text(text)
    with pytest.raises(CorruptFile, match=r"result\.json .*; job k had succeeded") as caught:
        value(attempt)
    assert str(attempt.path) in caught.value.hint
    assert "done anew" in caught.value.hint


def test_a_step_without_its_result_is_named_and_a_command_needs_none(attempt):
    (attempt.path / files.RESULT).unlink()
    with pytest.raises(CorruptFile, match=r"result\.json is gone"):
        value(attempt)
    files.write(attempt.path / files.LAUNCH, {"spec": {"step": "", "command": ["true"]}})
    assert value(attempt) == {}


@nonsense
def test_a_launch_record_is_named(attempt, text):
    (attempt.path / files.LAUNCH).write_text(text)
    with pytest.raises(CorruptFile, match=r"launch\.json"):
        read_launch(attempt.path)


@nonsense
def test_who_waits_for_an_attempt_with_a_damaged_launch_record_learns_why(settings, text, monkeypatch):
    folder = files.make_attempt(settings.make_home(), "k", 1)
    (folder / files.LAUNCH).write_text(text)
    table = Attempts(settings.database_address)
    row = {"key": "k", "number": 1, "folder": str(folder), "name": "m:f", "task": {}, "host": "here", "token": 1}
    attempt = table.add(row | {"state": LAUNCHING, "heartbeat": time.time()})
    monkeypatch.setattr("airloom.jobs.submit.host", lambda: "here")
    lock = files.try_lock(folder)
    assert supervise.main([str(folder), str(lock)]) == 1
    assert "launch.json" in read_result(folder).failure.error
    os.close(lock)
    ended = settle(table, attempt)
    assert ended.state == LOST
    assert "launch.json" in ended.reason


@nonsense
def test_a_lease_is_named(settings, text):
    path = settings.make_home() / "devices" / "cuda-0.json"
    path.parent.mkdir()
    path.write_text(text)
    for look in (
        lambda: devices.holder(settings.home, "cuda:0"),
        lambda: devices.lease(settings.home, ["cuda:0"], 1, devices.Lease(1, "k", 1, "f")),
    ):
        with pytest.raises(CorruptFile, match=r"cuda-0\.json") as caught:
            look()
        assert "remove it" in caught.value.hint
