"""What a submitter hands over: the same on the other side, and of another airloom refused by name."""

import os
import subprocess
import sys

import pytest

from airloom.errors import ConfigError, JobFailed
from airloom.jobs import files
from airloom.jobs.launch_record import Launch, read_launch, write_launch
from airloom.jobs.spec import PROTOCOL, JobSpec, Resources
from airloom.jobs.submit import host
from airloom.jobs.wait import value, wait

SPEC = JobSpec(step="steps_for_test:hello", arguments={"name": "ada"}, resources=Resources(time=60))


def launch(folder, settings, spec=SPEC, **changes):
    """What the airloom before this one wrote, but for the changes."""
    values = {"id": 1, "token": 1, "key": "k", "number": 1, "host": host(), "home": str(settings.home)}
    values |= {"project": str(settings.project), "spec": spec.to_dict(), "pretended": 0, "confined": True}
    values |= {"protocol": 1, "state": str(files.state_folder(folder, 1)), **changes}
    files.write(folder / files.LAUNCH, values)


def test_what_is_written_is_read(tmp_path):
    record = Launch(7, 1, "k", 2, "here", "/home", "/project", "/state", SPEC, 4, confined=False)
    write_launch(tmp_path, record)
    assert read_launch(tmp_path) == record
    assert files.read(tmp_path / files.LAUNCH)["protocol"] == PROTOCOL  # where every protocol looks for it


def test_a_folder_without_a_record_is_named(tmp_path):
    with pytest.raises(ConfigError, match=r"has no launch\.json"):
        read_launch(tmp_path)


@pytest.mark.parametrize("protocol", [1, 99, None])
def test_a_child_refuses_another_protocol_with_both_numbers(settings, protocol):
    folder = files.make_attempt(settings.home, "k", 1)
    launch(folder, settings, protocol=protocol)
    done = subprocess.run([sys.executable, "-m", "airloom.jobs.child", str(folder)], capture_output=True, check=False)
    result = files.read(folder / files.RESULT)
    assert done.returncode == 1
    assert result["error"] == f"this airloom speaks protocol {PROTOCOL} of jobs, the submitter's {protocol}"
    assert "install the same airloom" in result["hint"]
    assert "submit the job again" in result["hint"]


def test_a_supervisor_refuses_what_the_airloom_before_submitted_and_the_next_attempt_works(settings, job, table):
    folder = files.make_attempt(settings.home, "k", 1)
    row = {"key": "k", "number": 1, "folder": str(folder), "name": SPEC.name, "host": host(), "state": "LAUNCHING"}
    attempt = table.add({**row, "token": 1, "task": {}})
    files.clear_attempt(folder)
    launch(folder, settings, id=attempt.id)
    lock = files.try_lock(folder)
    words = [sys.executable, "-P", "-m", "airloom.jobs.supervise", str(folder), str(lock)]
    done = subprocess.run(words, env=os.environ | settings.as_environment(), pass_fds=(lock,), check=False)
    os.close(lock)
    ended = table.get(attempt.id)
    assert (done.returncode, ended.state) == (1, "FAILED")
    assert ended.reason == f"this airloom speaks protocol {PROTOCOL} of jobs, the submitter's 1"
    assert not (folder / files.LOG).exists()  # nothing of it ran
    with pytest.raises(JobFailed, match="the submitter's 1") as error:
        value(ended)
    assert "submit the job again" in error.value.hint
    again = wait(settings, job("hello", {"name": "ada"}), seconds=30)
    assert (again.number, value(again)["hello"]) == (2, "ada")
