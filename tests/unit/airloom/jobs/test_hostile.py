"""Jobs and circumstances that try to escape, to hang, or to take others along."""

import os
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from dataclasses import replace
from pathlib import Path

import pytest

from airloom.errors import ConfigError, JobError, JobFailed, JobsAway
from airloom.jobs import control, files, processes, sandbox, submit
from airloom.jobs.spec import JobSpec
from airloom.jobs.states import ENDED
from airloom.jobs.table import Attempts
from airloom.jobs.wait import value, wait


@pytest.fixture
def mark(tmp_path):
    return tmp_path / "tmp" / "mark"


@pytest.fixture
def hostile(job, mark):
    def start(name, *, key="k", at=None, generation=0, arguments=None, **resources):
        more = {"at": at} if at else {}
        given = {"path": str(mark), **(arguments or {})} if arguments is not False else {}
        return job(f"hostile_steps:{name}", given, key=key, generation=generation, **more, **resources)

    return start


def ended(settings, attempt, seconds=200):
    found = wait(settings, attempt, seconds=seconds)
    assert found.state in ENDED
    return found


def lives(pid):
    return processes._state(pid)[0] not in processes.GONE


# -- processes that want to stay


@pytest.mark.parametrize("kind", ["daemon", "stranger"])
def test_a_daemon_ends_with_its_job(settings, hostile, mark, kind):
    attempt = hostile(kind, arguments={"seconds": 0.5})
    assert ended(settings, attempt).state == "SUCCEEDED"
    assert not lives(int(mark.read_text()))


def test_a_daemon_without_a_supervisor_is_ended_by_whoever_looks_next(settings, hostile, mark, table, until):
    attempt = hostile("daemon", arguments={"seconds": 60})
    until(lambda: mark.exists() and mark.read_text() and table.get(attempt.id).owner)
    os.kill(table.get(attempt.id).owner, signal.SIGKILL)
    until(lambda: control.list_jobs(settings)[0].attempt.state == "LOST")
    assert not lives(int(mark.read_text()))


def test_a_process_without_environment_is_found_by_the_lock_that_it_holds(settings, hostile, mark, table, until):
    attempt = hostile("nameless")
    until(lambda: mark.exists() and mark.read_text() and table.get(attempt.id).owner)
    pid = int(mark.read_text())
    assert pid not in processes.marked(attempt.path)
    os.kill(table.get(attempt.id).owner, signal.SIGKILL)
    assert ended(settings, attempt).state == "LOST"
    assert not lives(pid)


def test_a_supervisor_killed_before_it_said_who_it_is_leaves_nothing(
    settings, hostile, mark, table, until, monkeypatch
):
    """The moment between the job's start and the first word to the table, made longer by a locked table."""
    table.alive()
    lock, launch = locked(settings), submit._launch
    monkeypatch.setattr(submit, "_launch", lambda *given: (lock.__enter__(), launch(*given)))
    attempt = hostile("crowd", arguments={"count": 3, "seconds": 60})
    until(mark.exists)
    os.kill(processes.supervisor_of(attempt.path), signal.SIGKILL)
    until(lambda: not processes.supervisor_of(attempt.path))
    lock.__exit__()
    assert table.get(attempt.id).owner == 0
    assert processes.marked(attempt.path)
    assert ended(settings, attempt).state == "LOST"
    assert not processes.marked(attempt.path)


def test_a_thousand_children_end_with_their_job(settings, hostile, mark):
    attempt = hostile("crowd", arguments={"count": 1000})
    assert value(ended(settings, attempt)) == {"children": 1000}
    assert not processes.marked(attempt.path)


def test_a_process_that_forks_faster_than_one_can_look_is_caught(settings, hostile, mark):
    attempt = hostile("comet")
    assert ended(settings, attempt).state == "SUCCEEDED"
    with pytest.raises(ProcessLookupError):
        os.killpg(int(mark.read_text()), signal.SIGKILL)  # its group: whoever is in it at the moment


def test_orphans_that_ended_are_buried_while_the_job_runs(settings, hostile):
    assert value(ended(settings, hostile("orphans", arguments={"count": 200})))["zombies"] == 0


# -- jobs that hang, or lie


@pytest.mark.long
def test_a_job_that_stands_still_ends_at_its_wall_time(settings, hostile, mark, monkeypatch):
    found = ended(settings, hostile("freeze", time=1.5))
    assert (found.state, found.reason) == ("FAILED", "wall time: its 1.5 s are over; raise resources.time")


def test_a_supervisor_that_stands_still_is_ended_by_a_cancel(settings, hostile, mark, table, until, monkeypatch):
    monkeypatch.setattr(submit, "ENDING", 2.0)
    attempt = hostile("daemon", arguments={"seconds": 60})
    until(lambda: mark.exists() and mark.read_text() and table.get(attempt.id).pid)
    os.kill(table.get(attempt.id).owner, signal.SIGSTOP)
    found = submit.end(table, attempt, "no longer wanted")
    assert (found.state, found.reason) == ("CANCELLED", "no longer wanted")
    assert not lives(int(mark.read_text())) and not processes.marked(attempt.path)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("{", "its result.json cannot be read: Expecting property name"),
        ("[1]", "its result.json has neither ok: true with a value"),
        ('{"ok": 1}', "its result.json has neither ok: true with a value"),
        ('{"ok": true, "value": 3}', "its result.json has neither ok: true with a value"),
        ("\x00", "its result.json cannot be read"),
    ],
)
def test_a_result_that_is_none_is_a_failure_with_that_reason(settings, hostile, text, reason, job):
    attempt = ended(settings, job("hostile_steps:nonsense", {"text": text}))
    assert (attempt.state, reason in attempt.reason) == ("FAILED", True), attempt.reason
    with pytest.raises(JobFailed, match=r"result\.json"):
        value(attempt)
    assert control.list_jobs(settings)[0].attempt.state == "FAILED"


def test_a_step_that_returns_no_mapping_says_so(settings, job):
    with pytest.raises(JobFailed, match="listing returned a list"):
        value(ended(settings, job("hostile_steps:listing")))


def test_a_job_that_removes_its_own_folder_does_not_confuse_its_supervisor(settings, hostile):
    attempt = hostile("rid")
    found = ended(settings, attempt)
    assert found.state in ("SUCCEEDED", "LOST", "FAILED")
    assert "cannot be started" not in found.reason
    assert not processes.marked(attempt.path)


def test_a_stop_leaves_a_training_its_helpers_to_save_with(settings, hostile, mark, table, until):
    attempt = hostile("helper")
    until(mark.exists)
    table.change(attempt.id, stop="the stack goes down")
    assert ended(settings, attempt).state == "LOST"
    assert mark.read_text() == "helper ended: None"
    assert not processes.marked(attempt.path)


# -- circumstances


class locked:
    """The table, locked by somebody else."""

    def __init__(self, settings):
        self._path = settings.home / "airloom.db"

    def __enter__(self):
        self._connection = sqlite3.connect(self._path, isolation_level=None)
        self._connection.execute("BEGIN IMMEDIATE")
        return self

    def __exit__(self, *_):
        self._connection.execute("ROLLBACK")
        self._connection.close()


def test_a_locked_table_neither_ends_a_job_nor_its_limits(settings, hostile, mark, table, until, job):
    steady = job("count", {"path": os.environ["TMPDIR"] + "/n", "seconds": 6}, key="steady")
    hungry = hostile("eat", key="hungry", arguments={"megabytes": 300}, memory=150 * 2**20)
    until(lambda: mark.exists() and mark.read_text() and table.get(steady.id).pid and table.get(hungry.id).pid)
    with locked(settings):
        until(lambda: not lives(int(mark.read_text())))  # the limit holds, though nothing can be written
        until(lambda: not lives(table.get(steady.id).pid))
        assert table.get(hungry.id).state == table.get(steady.id).state == "RUNNING"
    assert ended(settings, hungry).reason.startswith("memory: it used")
    assert value(ended(settings, steady)) == {"done": True}


def test_a_supervisor_that_starts_its_job_while_somebody_looks_is_not_taken_for_dead(settings, job, table, monkeypatch):
    attempt = replace(table.get(job("hello", {"name": "b"}).id), owner=0)
    looks = []

    def seen(found, nothing):
        looks.append(found)
        return found if len(looks) > 1 else nothing  # it starts right after the first look

    monkeypatch.setattr(processes, "supervisor_of", lambda _: seen(7, 0))
    monkeypatch.setattr(processes, "marked", lambda _: seen({8: 8}, {}))
    assert not submit._abandoned(attempt)


def test_who_waits_outlasts_a_table_that_is_away(settings, job, monkeypatch):
    attempt, get, asked = job("hello", {"name": "b"}), Attempts.get, []

    def away_at_first(table, identity):
        asked.append(identity)
        if len(asked) < 4:
            raise JobsAway("the table of jobs cannot be used", "start it")
        return get(table, identity)

    monkeypatch.setattr(Attempts, "get", away_at_first)
    assert ended(settings, attempt).state == "SUCCEEDED"
    assert len(asked) > 3


def test_a_recycled_pid_is_not_taken_for_a_supervisor_and_is_left_alone(settings, hostile, mark, table, until):
    attempt = hostile("nameless")
    until(lambda: mark.exists() and mark.read_text() and table.get(attempt.id).owner)
    os.kill(table.get(attempt.id).owner, signal.SIGKILL)
    stranger = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
    table.change(attempt.id, owner=stranger.pid, pid=stranger.pid)
    assert ended(settings, attempt).state == "LOST"
    assert stranger.poll() is None
    stranger.kill()
    stranger.wait()


def test_another_home_with_the_same_numbers_is_left_alone(settings, hostile, mark, table, until, tmp_path):
    other = replace(settings, home=tmp_path / "home2")
    theirs = hostile("daemon", at=other, arguments={"seconds": 60})
    until(lambda: mark.exists() and mark.read_text())
    pid = int(mark.read_text())
    mine = hostile("daemon", arguments={"seconds": 60})
    assert mine.id == theirs.id and mine.key == theirs.key
    submit.end(table, mine, "not wanted")
    assert control.stop_all(settings, "down") == 0
    assert lives(pid)
    assert control.stop_all(other, "down") == 1
    assert not lives(pid)


@pytest.mark.parametrize("key", ["x" * 900, "schedule 2026-01-01T00:00:00+00:00/ümläut 日本 😀", "-rf", "a'b\"c;d$(e)"])
def test_any_printable_key_works(settings, job, key):
    assert value(ended(settings, job("hello", {"name": "ada"}, key=key)))["hello"] == "ada"
    assert control.show(settings, key)[0].attempt.state == "SUCCEEDED"


@pytest.mark.parametrize("key", ["", "x" * 1001, "a\nb", "a\0b", "\ud800", "a\u200bb"])
def test_other_keys_are_refused_before_anything_is_written(settings, job, key):
    with pytest.raises(ConfigError, match="cannot be the key of a job"):
        job("hello", {"name": "ada"}, key=key)
    assert not (settings.home / "jobs").exists()


READ_ONLY = """
import sys
from pathlib import Path
from airloom.errors import JobError
from airloom.jobs import sandbox
from airloom.jobs.spec import JobSpec
from airloom.jobs.submit import submit
from airloom.settings import load
sandbox.confine([Path(path) for path in sys.argv[1:]])
try:
    submit(load(), "k", JobSpec(command=["true"]))
except JobError as error:
    print(type(error).__name__, error)
"""


@pytest.mark.skipif(not sandbox.version(), reason="this kernel has no Landlock")
@pytest.mark.parametrize(
    ("writable", "says"),
    [("home", "JobsAway the table of jobs cannot be used"), ("db", "JobError job k cannot be started: [Errno 13]")],
)
def test_what_cannot_be_written_is_said_by_name(settings, tmp_path, writable, says):
    """Landlock makes it read-only, also for root."""
    (tmp_path / "db").mkdir()
    there = replace(settings, database=f"sqlite:///{tmp_path / 'db' / 'airloom.db'}")
    there.make_home()
    Attempts(there.database_address)
    command = [sys.executable, "-c", READ_ONLY, "/dev", str(tmp_path / writable)]
    environment = os.environ | there.as_environment()
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert says in done.stdout, done.stdout + done.stderr
    assert "\n  -> " in done.stdout
    assert not Attempts(there.database_address).alive()


# -- submitters


def test_no_late_submitter_empties_the_state_of_a_running_job(settings, job, table, until, monkeypatch, tmp_path):
    """It looked when the key was new; meanwhile another one started the job, which has written a checkpoint."""
    path = str(tmp_path / "tmp" / "n")
    before = threading.Event()
    newest = Attempts.newest

    def late(self, key):
        found = newest(self, key)
        if threading.current_thread().name == "late" and not before.is_set():
            before.set()
            time.sleep(2)
        return found

    monkeypatch.setattr(Attempts, "newest", late)
    results = []
    thread = threading.Thread(name="late", target=lambda: results.append(job("count", {"path": path, "seconds": 4})))
    thread.start()
    before.wait()
    attempt = job("count", {"path": path, "seconds": 4})
    until(lambda: Path(path).exists())
    (state,) = attempt.path.parent.glob("state-*")
    (state / "checkpoint").write_text("step 1")
    thread.join()
    assert results[0].id == attempt.id
    assert (state / "checkpoint").exists()
    assert value(ended(settings, attempt)) == {"done": True}


def test_a_table_that_was_lost_counts_anew_without_old_results(settings, job, table, tmp_path):
    first = ended(settings, job("hello", {"name": "ada"}))
    (first.path.parent / "state-1" / "old").write_text("of another life")
    table.change(first.id, states=ENDED, key="another key")
    again = job("nothing_here")
    assert again.path == first.path
    assert ended(settings, again).state == "FAILED"
    assert not (again.path.parent / "state-1" / "old").exists()


def test_the_state_is_kept_over_failures_and_begins_anew_after_a_cancel(settings, hostile, job, table, mark, until):
    def state_of(attempt):
        return Path(files.read(attempt.path / files.LAUNCH)["state"]).name

    first = ended(settings, job("crash"))
    second = ended(settings, job("crash"))
    third = hostile("daemon", arguments={"seconds": 60})
    submit.end(table, third, "cancelled")
    fourth = ended(settings, job("crash"))
    fifth = ended(settings, job("crash", generation=1))
    late = ended(settings, job("crash", generation=0))  # of a task that was cleared long ago
    assert [state_of(a) for a in (first, second, third)] == ["state-1"] * 3
    assert [state_of(a) for a in (fourth, fifth, late)] == ["state-4", "state-5", "state-5"]
    assert [path.name for path in first.path.parent.glob("state-*")] == ["state-5"]


def test_a_submitter_that_stands_still_with_the_lock_is_named(settings, job, monkeypatch):
    monkeypatch.setattr(submit, "BUSY", 0.3)
    folder = files.make_attempt(settings.home, "k", 1)
    lock = files.try_lock(folder)
    with pytest.raises(JobError, match="another submitter has k in hand"):
        job("hello", {"name": "ada"})
    os.close(lock)
    assert value(ended(settings, job("hello", {"name": "ada"})))["hello"] == "ada"


def test_a_command_with_closed_input_and_output_ends_well(settings):
    words = ["bash", "-c", "exec <&- >&- 2>&-; sleep 0.5; exit 0"]
    attempt = ended(settings, submit.submit(settings, "k", JobSpec(command=words)))
    assert attempt.state == "SUCCEEDED"
