"""A training as a job of two ranks: the real supervisor, torchrun, child and context."""

import json
import os
import signal
import time
from pathlib import Path

import pytest

from airloom.jobs import processes
from airloom.jobs.spec import JobSpec, Resources
from airloom.jobs.submit import submit
from airloom.jobs.table import Attempts
from airloom.jobs.wait import wait

STEP = """
import sys
from airloom.contracts import RunContext
from airloom.spec.pipeline import Pipeline
from airloom.settings import load
from airloom.training import train as final

def train(context, pipeline, tests):
    sys.path.insert(0, tests)
    from trainee import data
    return final.train(load(), Pipeline.model_validate(pipeline), RunContext.from_dict(context), {}, data()).to_dict()
"""


@pytest.fixture
def training(make_training, make_home, tmp_path, monkeypatch):
    training = make_training(make_home(tmp_path), tmp_path / "training", "with_fit", ranks=2, pause=0.05)
    (training.settings.project / "step_for_test.py").write_text(STEP)
    monkeypatch.setenv(
        "PYTHONPATH", os.pathsep.join([str(training.settings.project), os.environ.get("PYTHONPATH", "")])
    )
    yield training
    for attempt in Attempts(training.settings.database_address).alive():
        processes.end_attempt(attempt.path)


def start(training):
    """Submit the next attempt, and wait until it trains."""
    (training.folder / "batches").write_bytes(b"")
    request = training.request
    arguments = {"context": request["ctx"], "pipeline": request["pipeline"], "tests": str(Path(__file__).parent)}
    spec = JobSpec(step="step_for_test:train", arguments=arguments, resources=Resources(processes=2, time=200))
    attempt = submit(training.settings, "k", spec)
    end = time.monotonic() + 200
    while (training.folder / "batches").stat().st_size < 30 and time.monotonic() < end:
        assert Attempts(training.settings.database_address).get(attempt.id).alive, (
            attempt.path / "log.txt"
        ).read_text()
        time.sleep(0.05)
    return attempt


def test_a_dead_rank_ends_the_job_and_is_named(training):
    first = start(training)
    victim = json.loads((first.path / "rank1.json").read_text())["pid"]
    os.kill(victim, signal.SIGKILL)
    began = time.monotonic()
    ended = wait(training.settings, first, seconds=200)
    assert time.monotonic() - began < 60  # the other rank would wait for half an hour
    assert ended.state == "FAILED"
    assert f"rank 1 (process {victim}) died" in ended.reason


@pytest.mark.long
def test_a_job_goes_on_after_a_dead_rank_and_after_a_stop(training):
    test_a_dead_rank_ends_the_job_and_is_named(training)
    second = start(training)
    Attempts(training.settings.database_address).change(second.id, stop="the stack goes down")
    ended = wait(training.settings, second, seconds=200)
    assert (ended.state, ended.reason) == ("LOST", "the stack goes down")
    assert json.loads((second.path / "result.json").read_text())["error"].startswith("stopped on request after")

    third = start(training)
    wait(training.settings, third, seconds=200)
    assert training.text("digest"), (third.path / "log.txt").read_text()[-3000:]
    began = [int(batch) for batch in training.text("began").split()]
    assert began[0] == 0
    assert any(began[1:])
    assert training.steps() == list(range(6))
