"""SIGKILL between any two lines of the submitter and of the supervisor: one job works at a time, and it ends."""

import os
import re
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest

import airloom.jobs
from airloom.jobs import devices, processes
from airloom.jobs.submit import settle
from airloom.jobs.wait import value, wait

TRACER = """
import os, signal, sys

def install(last, folder, report):
    count = 0
    def trace(frame, event, _):
        nonlocal count
        code = frame.f_code
        if not (code.co_filename.startswith(folder) and code.co_flags & 2):  # bodies of modules and classes only define
            return None
        if event == "line":
            count += 1
            if count >= last:
                with open(report, "w") as file:
                    file.write(f"{code.co_filename}:{frame.f_lineno}")
                os.kill(os.getpid(), signal.SIGKILL)
        return trace
    sys.settrace(trace)
"""
SUBMITTER = """
import sys
import tracer
from airloom.jobs.spec import JobSpec, Resources
from airloom.jobs.submit import submit
from airloom.settings import load
spec = JobSpec(step="hostile_steps:alone", arguments={"path": sys.argv[4]}, resources=Resources(devices=1, time=60))
settings = load()
tracer.install(int(sys.argv[1]), sys.argv[2], sys.argv[3])
submit(settings, "k", spec)
"""
SITE = """
import sys
if "airloom.jobs.supervise" in sys.orig_argv:
    import tracer
    tracer.install({last}, {folder!r}, {report!r})
"""
FOLDER = str(Path(airloom.jobs.__file__).parent)


@pytest.fixture
def place(settings, monkeypatch):
    """Where the kill came, and where the jobs leave their marks; 4 devices."""
    monkeypatch.setenv("AIRLOOM_DEVICES", "4")
    (settings.project / "tracer.py").write_text(TRACER)
    return Path(os.environ["TMPDIR"])


def once_more(settings, job, table, place, until):
    """The job is submitted again until it went well, as Airflow does; then nothing is left but its result."""
    four = replace(settings, devices=4)
    arguments = {"path": str(place / "ran")}
    end, found = time.monotonic() + 250, None
    while found is None or found.state != "SUCCEEDED":
        assert time.monotonic() < end, table.of("k")
        found = wait(four, job("hostile_steps:alone", arguments, at=four, devices=1), seconds=200)
    assert value(found) == {"ran": True}
    assert "overlap" not in (place / "ran").read_text()
    attempts = table.of("k")
    assert [settle(table, attempt).alive for attempt in attempts] == [False] * len(attempts)
    assert [attempt.state for attempt in attempts].count("SUCCEEDED") == 1
    assert not [pid for attempt in attempts for pid in processes.marked(attempt.path)]
    until(lambda: [devices.holder(settings.home, f"pretended:{n}") for n in range(4)] == [None] * 4)


@pytest.mark.matrix("line", range(1, 140), sample=3)
def test_of_the_submitter(settings, job, table, place, until, record_property, line):
    words = [sys.executable, "-c", SUBMITTER, str(line), FOLDER, str(place / "killed"), str(place / "ran")]
    environment = os.environ | settings.as_environment()
    done = subprocess.run(words, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == -signal.SIGKILL, f"it ended before line {line}: {done.stderr}"
    once_more(settings, job, table, place, until)
    _note(record_property, place, line)


@pytest.mark.matrix("line", range(1, 400, 2), sample=4)
def test_of_the_supervisor(settings, job, table, place, until, record_property, line):
    site = settings.project / "sitecustomize.py"
    site.write_text(SITE.format(last=line, folder=FOLDER, report=str(place / "killed")))
    four = replace(settings, devices=4)
    wait(four, job("hostile_steps:alone", {"path": str(place / "ran")}, at=four, devices=1), seconds=200)
    site.unlink()
    assert (place / "killed").exists(), f"it ended before line {line}"
    once_more(settings, job, table, place, until)
    _note(record_property, place, line)


def _note(record_property, place, line):
    where = re.sub(r".*/airloom/jobs/", "", (place / "killed").read_text())
    record_property("killed", f"line {line}, {where}")
