"""Processes die: no trial is lost, none is done twice, none goes on without its past."""

import json
import os
import signal
import subprocess
import sys
import threading
import time

import psutil
import pytest

from airloom.errors import JobFailed, StoppedByRequest
from airloom.tracking import runs as mlflow_runs
from airloom.tuning import ownership
from airloom.tuning.slots import TAKEN, Slots
from airloom.tuning.study import create
from airloom.tuning.summary import finish
from airloom.tuning.worker import trial_process
from airloom.tuning.worker.lane import Lane
from airloom.tuning.worker.main import work

SLOW = {"steps": 12, "sleep": 0.15}
WORKER = """
import json, sys
from airloom.contracts import RunContext
from airloom.spec.pipeline import Pipeline
from airloom.settings import load
from airloom.tuning.worker.main import work
pipeline, ctx = json.load(sys.stdin)
work(load(), Pipeline.model_validate(pipeline), RunContext.from_dict(ctx), int(sys.argv[1]))
"""


def start(pipeline, ctx, number=0):
    """A worker in a process of its own."""
    process = subprocess.Popen([sys.executable, "-c", WORKER, str(number)], stdin=subprocess.PIPE, text=True)
    values = pipeline.model_dump(mode="json", by_alias=True, exclude_unset=True)
    process.stdin.write(json.dumps([values, ctx.to_dict()]))
    process.stdin.close()
    return process


def running(rows, step=1):
    """The first row that is past a step, as soon as there is one."""
    until = time.monotonic() + 200
    while time.monotonic() < until:
        for row in rows():
            if row.state.name == "RUNNING" and (row.last_step or 0) >= step:
                return row
        time.sleep(0.05)
    raise AssertionError("no trial got on")


def test_a_killed_trial_goes_on_in_its_slot_with_its_past(settings, make, ctx, rows, runs):
    pipeline = make(trials=2, parameters=SLOW)
    create(settings, pipeline, ctx)
    killed = []

    def kill():
        row = running(rows, step=5)
        killed.append((row, row.user_attrs["pid"]))
        os.kill(row.user_attrs["pid"], signal.SIGKILL)

    thread = threading.Thread(target=kill)
    thread.start()
    done = work(settings, pipeline, ctx, 0)
    thread.join()
    assert done["trials"] == 2
    assert done["failed"] == 0  # preempted is not failed
    lost = killed[0][0]
    found = rows()
    assert [row.state.name for row in found] == ["FAIL", "COMPLETE", "COMPLETE"]
    again = next(row for row in found if row.user_attrs.get("retry_of") == lost.number)
    assert again.params == lost.params
    assert again.user_attrs["slot"] == lost.user_attrs["slot"]
    assert again.user_attrs["resumed_at"] >= 1
    assert list(again.intermediate_values) == list(range(12))
    assert lost.intermediate_values.items() <= again.intermediate_values.items()
    assert found[lost.number].user_attrs["reason"] == "preempted: its process was killed by SIGKILL"
    assert finish(settings, pipeline, ctx).trials == 2
    assert len(runs()) == 2
    one = next(run for run in runs() if run.data.tags["airloom.trial"] == str(again.number))
    points = mlflow_runs.client(settings).get_metric_history(one.info.run_id, "score")
    assert [point.step for point in points] == list(range(12))
    assert one.data.metrics["preempted"] == 1
    assert runs("failed_trial") == []


def test_a_killed_worker_takes_its_trial_process_along_and_the_next_one_goes_on(settings, make, ctx, rows, runs):
    pipeline = make(trials=2, parameters=SLOW)
    create(settings, pipeline, ctx)
    first = start(pipeline, ctx)
    row = running(rows, step=4)
    first.kill()
    first.wait()
    until = time.monotonic() + 60
    while psutil.pid_exists(row.user_attrs["pid"]) and time.monotonic() < until:
        time.sleep(0.05)
    assert not psutil.pid_exists(row.user_attrs["pid"])
    assert work(settings, pipeline, ctx, 1)["trials"] == 2
    found = rows()
    assert sorted(r.state.name for r in found) == ["COMPLETE", "COMPLETE", "FAIL"]
    again = next(r for r in found if r.user_attrs.get("retry_of") == row.number)
    assert again.user_attrs["worker"] == 1
    assert again.user_attrs["resumed_at"] >= 1
    finish(settings, pipeline, ctx)
    assert len(runs()) == 2
    assert {run.info.status for run in runs()} == {"FINISHED"}


def test_a_stopped_worker_saves_and_the_next_attempt_goes_on(settings, make, ctx, rows):
    pipeline = make(trials=1, parameters=SLOW)
    create(settings, pipeline, ctx)

    def stop():
        running(rows, step=3)
        os.kill(os.getpid(), signal.SIGTERM)

    thread = threading.Thread(target=stop)
    thread.start()
    with pytest.raises(StoppedByRequest):
        work(settings, pipeline, ctx, 0)
    thread.join()
    assert [row.state.name for row in rows()] == ["FAIL"]
    assert rows()[0].user_attrs["reason"].startswith("preempted: stopped on request")
    assert work(settings, pipeline, ctx, 0)["trials"] == 1
    assert rows()[1].user_attrs["resumed_at"] >= 3
    assert finish(settings, pipeline, ctx).trials == 1


@pytest.mark.matrix("name", ["SIGSEGV", "SIGKILL"], sample=["SIGSEGV"])
def test_a_trial_that_crashes_itself_costs_only_that_trial(settings, make, ctx, tune, rows, name):
    pipeline = make("crash", trials=3, parameters={"signal": name})
    done = tune(pipeline)
    assert done["trials"] == 3
    assert done["failed"] == (name == "SIGSEGV")  # SIGKILL after a step may have come from outside
    assert name in rows()[0].user_attrs["reason"]
    assert finish(settings, pipeline, ctx).trials == 3


def test_a_trial_that_always_crashes_gets_other_parameters_and_ends_the_study(settings, make, ctx, tune, rows):
    with pytest.raises(JobFailed, match=r"0 of 2 trials finished: 4 trials failed, .* was killed by SIGSEGV"):
        tune(make("always_crash", trials=2, failures=3))
    found = rows()
    assert [row.state.name for row in found] == ["FAIL"] * 4
    assert found[0].params == found[1].params != found[2].params


@pytest.mark.long
def test_a_trial_over_its_memory_is_ended_and_named(settings, make, ctx, tune, rows, monkeypatch):
    monkeypatch.setattr(trial_process, "subprocess", subprocess)  # a forked one would count what it shares
    pipeline = make("hungry", trials=1, failures=0, space={"x": {"value": 0.5}}, resources={"memory": "400MiB"})
    with pytest.raises(JobFailed, match=r"0 of 1 trials finished: .*memory: it used \d+ of 400 MiB"):
        tune(pipeline)


@pytest.mark.matrix("where", ["tell", "finish", "drawn"], sample=["finish"])
def test_a_worker_that_dies_between_two_steps_leaves_no_trial_twice(
    settings, make, ctx, rows, runs, monkeypatch, where
):
    """Between drawing and holding, before telling Optuna, and between Optuna and the slot."""
    pipeline = make(trials=2)
    create(settings, pipeline, ctx)
    original = {"tell": Lane._finish, "finish": Slots.finish, "drawn": Slots.hold}[where]
    died = []

    def dies(self, *args, **kwargs):
        if not died and (where != "drawn" or "parameters" in kwargs):
            died.append(True)
            raise KeyboardInterrupt
        return original(self, *args, **kwargs)

    target = {"tell": (Lane, "_finish"), "finish": (Slots, "finish"), "drawn": (Slots, "hold")}[where]
    monkeypatch.setattr(*target, dies)
    with pytest.raises(KeyboardInterrupt):
        work(settings, pipeline, ctx, 0)
    monkeypatch.setattr(ownership, "is_alive", lambda *_: False)  # as this process would be
    left = Slots(settings.database_address).all(ctx.key, TAKEN)
    assert len(left) == 1
    assert work(settings, pipeline, ctx, 0)["trials"] + (where == "finish") == 2
    finish(settings, pipeline, ctx)
    states = [row.state.name for row in rows()]
    assert states.count("COMPLETE") == 2
    assert states.count("RUNNING") == 0
    assert len(runs()) == 2
    assert {run.info.status for run in runs()} == {"FINISHED"}
