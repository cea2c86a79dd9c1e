"""`airloom jobs …` and `airloom devices`, on real jobs."""

import json
import os
import re
import time
from dataclasses import replace

import pytest
import typer
from typer.testing import CliRunner

from airloom.cli import jobs
from airloom.errors import JobError
from airloom.jobs.spec import JobSpec
from airloom.jobs.submit import submit
from airloom.jobs.wait import wait

app = typer.Typer()
app.add_typer(jobs.app, name="jobs")
app.command()(jobs.devices)


@pytest.fixture
def airloom(settings, monkeypatch):
    """The command line in the test's home."""
    for name, value in settings.as_environment().items():
        monkeypatch.setenv(name, value)

    def run(*words):
        return CliRunner().invoke(app, list(words))

    return run


def test_without_jobs_and_devices_each_says_so(airloom, monkeypatch):
    monkeypatch.setenv("PATH", "")  # no tool that knows of devices
    assert airloom("jobs", "list").stdout == "no jobs\n"
    assert json.loads(airloom("jobs", "list", "--json").stdout) == []
    assert airloom("devices").stdout == "no devices; AIRLOOM_DEVICES=4 declares four that exist in name only\n"


@pytest.mark.parametrize("words", [("show", "nobody"), ("logs", "nobody"), ("cancel", "nobody")])
def test_an_unknown_key_is_named_with_what_to_do_next(airloom, words):
    done = airloom("jobs", *words)
    assert done.exit_code == 1
    assert isinstance(done.exception, JobError)
    assert str(done.exception) == "there is no job 'nobody'\n  -> `airloom jobs list`"


def test_all_attempts_are_shown_with_how_they_ended_and_what_they_used(airloom, settings, job):
    wait(settings, job("crash"))
    wait(settings, job("hello", {"name": "ada"}))
    shown = airloom("jobs", "show", "k").stdout
    first, second = shown.split("\n\n")
    assert re.search(r"attempt +1 of k\nstate +FAILED KeyError: 'deep'\ndoes +steps_for_test:crash\n", first)
    assert re.search(r"attempt +2 of k\nstate +SUCCEEDED", second)
    assert re.search(r"used +\d+\.\d CPU-seconds, \d+ MiB at most\n", second)
    assert [attempt["state"] for attempt in json.loads(airloom("jobs", "show", "k", "--json").stdout)] == [
        "FAILED",
        "SUCCEEDED",
    ]
    assert re.fullmatch(r"SUCCEEDED +\d+ s  attempt 2  k  \n", airloom("jobs", "list").stdout)
    assert airloom("jobs", "list", "--alive").stdout == "no jobs\n"


def test_logs_are_those_of_the_newest_attempt_or_of_the_one_that_is_asked_for(airloom, settings, job):
    wait(settings, job("hello", {"name": "ada"}))
    wait(settings, job("hello", {"name": "bo"}, generation=1))
    assert airloom("jobs", "logs", "k").stdout == "working for bo\n"
    assert airloom("jobs", "logs", "k", "--attempt", "1").stdout == "working for ada\n"
    assert str(airloom("jobs", "logs", "k", "--attempt", "7").exception) == "k has no attempt 7\n  -> it has 1, 2"


def test_logs_are_followed_to_the_end_of_the_job(airloom, settings):

    script = "for n in 1 2 3; do echo line $n; sleep 0.3; done; printf unfinished; exit 4"
    submit(settings, "k", JobSpec(command=["bash", "-c", script]))
    done = airloom("jobs", "logs", "-f", "k")
    assert done.stdout == "line 1\nline 2\nline 3\nunfinished\n"
    assert done.stderr == "FAILED it ended with exit code 4\n"


def test_a_job_is_cancelled_once_with_the_reason_given(airloom, settings, job, until, table, tmp_path):
    mark = tmp_path / "tmp" / "mark"
    job("stubborn", {"path": str(mark)})
    until(mark.exists)
    began = time.monotonic()
    done = airloom("jobs", "cancel", "k", "--reason", "enough")
    assert time.monotonic() - began < 10
    assert done.stderr == "k attempt 1: CANCELLED\n"
    assert table.of("k")[0].reason == "enough"
    with pytest.raises(ProcessLookupError):
        os.kill(int(mark.read_text()), 0)
    again = airloom("jobs", "cancel", "k")
    assert str(again.exception) == "k is CANCELLED already\n  -> `airloom jobs list` shows what lives"
    assert table.of("k")[0].reason == "enough"


def test_the_queue_is_shown_by_place_and_devices_by_who_holds_them(airloom, settings, job, until, table, monkeypatch):
    monkeypatch.setenv("AIRLOOM_DEVICES", "2")
    two = replace(settings, devices=2)
    path = os.environ["TMPDIR"] + "/d"
    holder = job("device", {"path": path, "seconds": 30}, key="holder", devices=1, at=two)
    until(lambda: table.get(holder.id).state == "RUNNING")
    for name in ("second", "third"):
        job("device", {"path": path, "seconds": 0}, key=name, devices=2, at=two)
    assert airloom("devices").stdout == "pretended:0    holder attempt 1\npretended:1    free\n"
    assert json.loads(airloom("devices", "--json").stdout)[0]["key"] == "holder"
    listed = airloom("jobs", "list", "--alive").stdout.splitlines()
    assert [line.split("  ")[0].strip() for line in listed] == ["QUEUED (2)", "QUEUED (1)", "RUNNING"]
    assert re.search(r"state +QUEUED \(2\)", airloom("jobs", "show", "third").stdout)
    for name in ("third", "second", "holder"):
        airloom("jobs", "cancel", name)
    assert not table.alive()
    until(lambda: "attempt" not in airloom("devices").stdout)  # its supervisor ends a moment later
