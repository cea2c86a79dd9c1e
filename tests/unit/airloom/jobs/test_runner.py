import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from airloom.errors import JobFailed
from airloom.jobs import files
from airloom.jobs.environment import child_environment
from airloom.jobs.runner import run_job
from airloom.settings import Settings

STEPS = """
import os, signal, subprocess, sys, time
from airloom.errors import ConfigError

def hello(name):
    print("working for", name)
    return {"hello": name, "cwd": os.getcwd(), "home": os.environ["AIRLOOM_HOME"], "omp": os.environ["OMP_NUM_THREADS"]}

def count(path, seconds):
    with open(path, "a") as file:
        file.write("x")
    time.sleep(seconds)
    return {"done": True}

def refuse():
    raise ConfigError("wrong key", "mend it")

def crash():
    raise KeyError("deep")

def die():
    print("about to die")
    os.kill(os.getpid(), signal.SIGKILL)

def stubborn(path):
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    open(path, "w").write(str(os.getpid()))
    time.sleep(60)
"""


@pytest.fixture
def settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    project = tmp_path / "project"
    project.mkdir()
    (project / "steps_for_test.py").write_text(STEPS)
    monkeypatch.setenv("PYTHONPATH", str(project))
    return Settings(home=tmp_path / "home", project=project)


def submit(settings, name, arguments=None, *, key="k", attempt=1, timeout=60.0, on_line=None):
    step = f"steps_for_test:{name}"
    return run_job(settings, key, step, arguments or {}, attempt=attempt, threads=1, timeout=timeout, on_line=on_line)


def wait_for(condition, seconds=20):
    end = time.monotonic() + seconds
    while not condition() and time.monotonic() < end:
        time.sleep(0.05)
    assert condition()


def test_a_step_gives_its_value_and_its_lines(settings):
    lines = []
    value = submit(settings, "hello", {"name": "ada"}, on_line=lines.append)
    assert value == {"hello": "ada", "cwd": str(settings.project), "home": str(settings.home), "omp": "1"}
    assert lines == ["working for ada"]


def test_the_same_attempt_does_not_run_twice_but_the_next_does(settings, tmp_path):
    for attempt in (1, 1, 2):
        submit(settings, "count", {"path": str(tmp_path / "n"), "seconds": 0}, attempt=attempt)
    assert (tmp_path / "n").read_text() == "xx"


@pytest.mark.parametrize("attempts", [(1, 1), (1, 2)])
def test_two_submits_at_once_share_one_child(settings, tmp_path, attempts):
    values = []

    def one(attempt):
        values.append(submit(settings, "count", {"path": str(tmp_path / "n"), "seconds": 1.5}, attempt=attempt))

    threads = [threading.Thread(target=one, args=(attempt,)) for attempt in attempts]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert values == [{"done": True}] * 2
    assert (tmp_path / "n").read_text() == "x"


def test_a_child_that_outlived_its_waiter_is_adopted(settings, tmp_path):
    mark = tmp_path / "n"
    code = (
        "from airloom.jobs.runner import run_job; from airloom.settings import Settings\n"
        f"s = Settings(home={str(settings.home)!r}, project={str(settings.project)!r})\n"
        f"run_job(s, 'k', 'steps_for_test:count', {{'path': {str(mark)!r}, 'seconds': 3}}, attempt=1, threads=1, "
        "timeout=60)"
    )
    waiter = subprocess.Popen([sys.executable, "-c", code])
    wait_for(mark.exists)
    waiter.kill()
    waiter.wait()
    assert submit(settings, "count", {"path": str(mark), "seconds": 3}, attempt=2) == {"done": True}
    assert mark.read_text() == "x"


def test_an_expected_error_keeps_message_hint_and_log(settings):
    with pytest.raises(JobFailed, match="wrong key") as caught:
        submit(settings, "refuse")
    assert "mend it" in caught.value.hint
    assert "Traceback" in Path(caught.value.log).read_text()


def test_an_unexpected_error_is_one_line_and_the_next_attempt_may_work(settings):
    with pytest.raises(JobFailed, match="KeyError: 'deep'") as caught:
        submit(settings, "crash")
    assert "Traceback" not in str(caught.value)
    assert submit(settings, "hello", {"name": "b"}, attempt=2)["hello"] == "b"


def test_a_killed_child_names_the_signal_and_the_last_lines(settings):
    with pytest.raises(JobFailed, match="SIGKILL") as caught:
        submit(settings, "die")
    assert "about to die" in str(caught.value)


def test_the_wall_time_kills_even_a_child_that_ignores_term(settings, tmp_path, monkeypatch):
    monkeypatch.setattr("airloom.jobs.watch.GRACE", 0.5)
    with pytest.raises(JobFailed, match="exceeded its wall time of 2 s"):
        submit(settings, "stubborn", {"path": str(tmp_path / "pid")}, timeout=2)
    with pytest.raises(ProcessLookupError):
        os.kill(int((tmp_path / "pid").read_text()), 0)


def test_an_interrupted_waiter_takes_its_child_along(settings, tmp_path):
    def interrupt(line):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        submit(settings, "hello", {"name": "x"}, on_line=interrupt)
    lock = files.try_lock(files.key_folder(settings.home, "k"))
    assert lock is not None
    os.close(lock)


def test_the_environment_is_an_allow_list(settings):
    parent = {"PATH": "/bin", "AIRFLOW__CORE__FERNET_KEY": "secret", "AWS_SECRET": "s", "MLFLOW_X": "1", "LC_ALL": "C"}
    seen = child_environment(settings, 3, parent)
    assert {"PATH", "MLFLOW_X", "LC_ALL"} <= set(seen)
    assert not [name for name in seen if name.startswith(("AIRFLOW", "AWS"))]
    assert seen["OMP_NUM_THREADS"] == "3"


@pytest.mark.parametrize("key", ["../../etc", "/etc/x", "a/b:c é\n", "..", "", "x" * 5000])
def test_no_key_leaves_the_jobs_folder(tmp_path, key):
    folder = files.key_folder(tmp_path, key)
    assert folder.resolve().parent == tmp_path / "jobs"
    assert len(folder.name) < 120


def test_keys_that_look_alike_do_not_meet(tmp_path):
    assert files.key_folder(tmp_path, "a/b") != files.key_folder(tmp_path, "a-b")
