"""What a person does to a running training: mark or clear its task through Airflow's API, `airloom down` and `up`."""

import time
from collections.abc import Callable
from pathlib import Path

import pytest
from crash import outside
from crash.play import Play

from airloom.jobs import files, processes
from airloom.jobs.states import CANCELLED, LOST, RUNNING, SUCCEEDED, Attempt
from airloom.stack import control

pytestmark = [pytest.mark.system, pytest.mark.timeout(600, func_only=True)]
WAITS = {"in_place": "running", "deferred": "deferred"}


def until(true: Callable[[], bool], seconds: float = 150) -> float:
    """Wait for it; the seconds that it took."""
    began = time.monotonic()
    while not true():
        assert time.monotonic() - began < seconds, "not in time"
        time.sleep(0.05)
    return time.monotonic() - began


def trains(play: Play, after: int = 0) -> Attempt:
    """The attempt after this one, when it trains and its task waits for it."""

    def there() -> bool:
        newest = play.newest()
        going = newest and newest.number > after and newest.state == RUNNING and play.steps_done() > 1
        return bool(going) and play.task().get("state") == WAITS[play.dag.removeprefix("crash_")]

    until(there)
    return play.attempts()[-1]


def everybody(attempt: Attempt) -> list[int]:
    """Every process of the job, its supervisor and its ranks included."""
    return [attempt.owner, *processes.marked(attempt.path)]


@pytest.mark.matrix(("mode", "ranks"), [(mode, ranks) for mode in WAITS for ranks in (1, 2)], sample=[("deferred", 2)])
def test_marking_and_clearing_the_task_end_every_process_of_the_job_within_ten_seconds(
    airloom, airflow, mode, ranks, record_property
) -> None:
    play = Play(airloom.settings, airflow, mode, ranks, pause=2.0)
    first = trains(play)
    pids = everybody(first)
    assert len(pids) >= 1 + ranks
    play.clear()
    took = until(lambda: not any(map(outside.alive, pids)), 30)
    record_property("cleared", f"{mode}, {ranks} ranks: {len(pids)} processes ended in {took:.1f} s")
    assert took < 10

    second = trains(play, after=1)
    state = [Path(files.read(attempt.path / files.LAUNCH)["state"]).name for attempt in (first, second)]
    assert state == ["state-1", "state-2"]  # anew, at step 0
    assert "going on at" not in (second.path / files.LOG).read_text()
    pids = everybody(second)
    play.change("failed")
    took = until(lambda: not any(map(outside.alive, pids)), 30)
    record_property("marked failed", f"{mode}, {ranks} ranks: {len(pids)} processes ended in {took:.1f} s")
    assert took < 10
    assert play.end(60) == "failed"
    ended = play.attempts()
    assert [attempt.state for attempt in ended] == [CANCELLED, CANCELLED]
    assert all(attempt.reason for attempt in ended), ended


@pytest.mark.long
def test_down_stops_trainings_at_a_checkpoint_and_up_goes_on_with_them(
    airloom, airflow, undisturbed, record_property
) -> None:
    wanted = undisturbed(1)
    plays = [Play(airloom.settings, airflow, mode, pause=0.5) for mode in WAITS]
    stopped = [trains(play) for play in plays]
    pids = [pid for attempt in stopped for pid in everybody(attempt)]
    done = airloom.run("down")
    assert "2 jobs were stopped at a checkpoint" in done.stderr
    assert not any(map(outside.alive, pids))
    assert not control.strays(airloom.settings)
    attempts = [play.attempts()[-1] for play in plays]
    assert [attempt.state for attempt in attempts] == [LOST, LOST]
    assert {attempt.reason for attempt in attempts} == {"the stack went down; the next `airloom up` goes on with it"}
    at = [play.steps_done() for play in plays]
    assert all(play.checkpoints() for play in plays)

    up = airloom.run("up")
    assert up.returncode == 0, up.stderr
    for play, steps in zip(plays, at, strict=True):
        assert play.end() == "success"
        assert [attempt.state for attempt in play.attempts()] == [LOST, SUCCEEDED]
        assert "going on at" in (play.newest().path / files.LOG).read_text()
        assert play.mlflow() == wanted
        record_property("down and up", f"{play.dag}: stopped after {steps} steps, ended after {len(wanted['steps'])}")
