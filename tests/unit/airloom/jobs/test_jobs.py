"""One living attempt a key, whoever dies; and how each way of going wrong ends."""

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from services.platform import environment_beside

from airloom.errors import ConfigError, JobFailed, JobLost
from airloom.jobs import files, limits, processes, sandbox, submit
from airloom.jobs.environment import allowed
from airloom.jobs.launch_record import read_launch
from airloom.jobs.spec import JobSpec, Resources
from airloom.jobs.wait import value, wait, wait_or_cancel


def ended(settings, attempt, on_line=None):
    return wait(settings, attempt, on_line, seconds=200)


def test_a_step_gives_its_value_and_its_lines(settings, job):
    lines = []
    attempt = ended(settings, job("hello", {"name": "ada"}), lines.append)
    found = value(attempt)
    assert (found["hello"], found["cwd"]) == ("ada", str(settings.project))
    assert (found["AIRLOOM_HOME"], found["OMP_NUM_THREADS"]) == (str(settings.home), "1")
    assert (found["AIRLOOM_JOB_ATTEMPT"], found["CUDA_VISIBLE_DEVICES"]) == ("1", "")
    assert lines == ["working for ada"]
    assert (attempt.state, attempt.pid, attempt.reason) == ("SUCCEEDED", found["pid"], "")
    assert attempt.ended >= attempt.started >= attempt.submitted > 0
    assert attempt.cpu_seconds >= 0


def test_a_command_runs_in_a_folder_of_its_own(settings):
    words = [
        sys.executable,
        "-c",
        "import sys; open('out.txt', 'w').write(sys.argv[1]); print(len(sys.stdin.read()))",
        "a;b",
    ]
    attempt = ended(settings, submit.submit(settings, "k", JobSpec(command=words)))
    assert value(attempt) == {}
    assert (attempt.path / "work" / "out.txt").read_text() == "a;b"
    assert (attempt.path / "log.txt").read_text() == "0\n"


@pytest.mark.parametrize("code", [1, 77])
def test_a_command_that_fails_says_its_exit_code(settings, code):
    words = [sys.executable, "-c", f"print('the end is near'); raise SystemExit({code})"]
    with pytest.raises(JobFailed, match=f"exit code {code}") as caught:
        value(ended(settings, submit.submit(settings, "k", JobSpec(command=words))))
    assert "the end is near" in caught.value.hint


def test_a_command_that_is_not_there_fails_with_its_name(settings):
    with pytest.raises(JobFailed, match=r"cannot be started: .*No such file.*no-such-program"):
        value(ended(settings, submit.submit(settings, "k", JobSpec(command=["no-such-program"]))))


def test_a_succeeded_attempt_is_not_run_again_but_a_clear_runs_it_anew(settings, job, tmp_path, table):
    arguments = {"path": str(tmp_path / "tmp" / "n"), "seconds": 0}
    for generation in (0, 0, 1, 1):
        value(ended(settings, job("count", arguments, generation=generation)))
    assert (tmp_path / "tmp" / "n").read_text() == "xx"
    assert [(a.number, a.generation) for a in table.of("k")] == [(1, 0), (2, 1)]


def test_two_submitters_at_once_share_one_attempt(settings, job, tmp_path, table):
    arguments = {"path": str(tmp_path / "tmp" / "n"), "seconds": 1.0}
    values = []

    def one():
        values.append(value(ended(settings, job("count", arguments))))

    threads = [threading.Thread(target=one) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert values == [{"done": True}] * 6
    assert (tmp_path / "tmp" / "n").read_text() == "x"
    assert len(table.of("k")) == 1


SUBMITTER = """
import os, signal, sys
from airloom.jobs import submit
from airloom.jobs.spec import JobSpec
from airloom.settings import load
point, path = sys.argv[1:]
def die(*a, **k):
    os.kill(os.getpid(), signal.SIGKILL)
if point == "before insert":
    submit.Attempts.add = die
elif point == "after insert":
    submit._launch = die
elif point == "after claim":
    submit.files.write = die
elif point == "after launch":
    get = submit.Attempts.get
    submit.Attempts.get = lambda self, identity: die() if os.path.exists(path) else get(self, identity)
submit.submit(load(), "k", JobSpec(step="steps_for_test:count", arguments={"path": path, "seconds": 1.5}))
import time; time.sleep(0.2 if point != "after submit" else 0); die()
"""


@pytest.mark.parametrize("point", ["before insert", "after insert", "after claim", "after launch", "after submit"])
def test_a_submitter_killed_at_any_step_leaves_exactly_one_job(settings, job, tmp_path, table, point):
    mark = tmp_path / "tmp" / "n"
    command = [sys.executable, "-c", SUBMITTER, point, str(mark)]
    done = subprocess.run(command, env=os.environ | settings.as_environment(), check=False, capture_output=True)
    assert done.returncode == -signal.SIGKILL, done.stderr
    assert value(ended(settings, job("count", {"path": str(mark), "seconds": 1.5}))) == {"done": True}
    assert mark.read_text() == "x"
    alive = [attempt for attempt in table.of("k") if attempt.state == "SUCCEEDED"]
    assert len(alive) == 1


def test_a_killed_job_goes_on_from_its_state_in_the_next_attempt(settings, job, table):
    first = ended(settings, job("resume"))
    assert (first.state, first.reason) == ("FAILED", "it was killed by SIGKILL (often: out of memory)")
    assert value(ended(settings, job("resume"))) == {"steps": 5}
    assert [(a.number, a.state) for a in table.of("k")] == [(1, "FAILED"), (2, "SUCCEEDED")]
    cleared = ended(settings, job("count", {"path": os.environ["TMPDIR"] + "/n", "seconds": 0}, generation=1))
    assert [list(path.iterdir()) for path in cleared.path.parent.glob("state-*")] == [[]]


def test_an_expected_error_keeps_message_hint_and_log(settings, job):
    with pytest.raises(JobFailed, match="wrong key") as caught:
        value(ended(settings, job("refuse")))
    assert "mend it" in caught.value.hint
    log = Path(caught.value.log).read_text()
    assert "wrong key" in log
    assert "Traceback" not in log


def test_an_unexpected_error_is_one_line_and_the_next_attempt_may_work(settings, job):
    with pytest.raises(JobFailed, match="KeyError: 'deep'") as caught:
        value(ended(settings, job("crash")))
    assert "Traceback" not in caught.value.message
    assert "Traceback" in Path(caught.value.log).read_text()
    assert value(ended(settings, job("hello", {"name": "b"})))["hello"] == "b"


def test_a_step_that_is_not_there_is_named(settings, job):
    with pytest.raises(JobFailed, match="nothing_here"):
        value(ended(settings, job("nothing_here")))


@pytest.mark.long
def test_the_wall_time_ends_even_a_child_that_ignores_term(settings, job, tmp_path, monkeypatch):
    path = tmp_path / "tmp" / "pid"
    attempt = job("stubborn", {"path": str(path)}, time=2)
    found = wait(settings, attempt, seconds=200)
    assert (found.state, found.reason) == ("FAILED", "wall time: its 2 s are over; raise resources.time")
    assert not processes.marked(attempt.path)


def test_a_cancelled_job_ends_with_all_its_children(settings, job, tmp_path, table, until):
    path = tmp_path / "tmp" / "up"
    attempt = job("stubborn", {"path": str(path)})
    until(path.exists)
    began = time.monotonic()
    assert submit.end(table, attempt, "no longer wanted").state == "CANCELLED"
    assert time.monotonic() - began < 10
    assert not processes.marked(attempt.path)
    with pytest.raises(JobFailed, match="was cancelled: no longer wanted"):
        value(table.get(attempt.id))
    again = job("hello", {"name": "c"})
    assert again.number == 2


def test_children_and_grandchildren_do_not_outlive_the_job(settings, job, tmp_path):
    attempt = job("family", {"path": str(tmp_path / "tmp" / "up")})
    assert ended(settings, attempt).state == "SUCCEEDED"
    assert not processes.marked(attempt.path)


def test_a_killed_supervisor_takes_the_job_along_and_the_attempt_is_lost(settings, job, tmp_path, until, table):
    path = tmp_path / "tmp" / "pid"
    attempt = job("stubborn", {"path": str(path)})
    until(lambda: path.exists() and table.get(attempt.id).owner)
    os.kill(table.get(attempt.id).owner, signal.SIGKILL)
    with pytest.raises(JobLost, match="nobody saw it end"):
        value(ended(settings, attempt))
    assert not processes.marked(attempt.path)
    assert job("hello", {"name": "x"}).number == 2


def test_orphans_of_a_killed_supervisor_are_ended_before_the_next_attempt(settings, job, tmp_path, until, table):
    attempt = job("family", {"path": str(tmp_path / "tmp" / "up"), "seconds": 60})
    until(lambda: len(processes.marked(attempt.path)) >= 3)  # the job, its child, and a grandchild in its own session
    until(lambda: table.get(attempt.id).owner)
    os.kill(table.get(attempt.id).owner, signal.SIGKILL)
    until(lambda: not processes.supervisor_of(attempt.path))  # until then the attempt lives, and would be attached to
    assert value(ended(settings, job("hello", {"name": "x"})))["hello"] == "x"
    assert not processes.marked(attempt.path)


def test_memory_over_the_limit_is_named(settings, job):
    found = ended(settings, job("hog", {"megabytes": 400}, memory=200 * 2**20))
    assert found.state == "FAILED"
    assert found.reason.startswith("memory: it used") and "of 200 MiB" in found.reason
    assert found.peak_memory > 200 * 2**20


def test_a_log_without_end_does_not_fill_the_disk(settings, job):
    attempt = ended(settings, job("shout", {"megabytes": 200}))
    assert value(attempt) == {"said": 200}
    size = sum(path.stat().st_size for path in attempt.path.iterdir() if path.is_file())
    assert size < limits.LOG_LIMIT + 2 * limits.KEPT
    assert "was cut" in (attempt.path / "log.txt").read_text(errors="replace")


def test_a_log_is_cut_while_its_job_prints_faster_than_it_is_read(tmp_path, monkeypatch):
    monkeypatch.setattr(limits, "LOG_LIMIT", 2 * limits.KEPT)
    log, ending = tmp_path / "log.txt", threading.Event()

    def shout():
        with log.open("ab", buffering=0) as file:
            while not ending.is_set():
                file.write(b"x" * limits.KEPT)

    shouting = threading.Thread(target=shout)
    shouting.start()
    try:
        for _ in range(20):
            while not log.exists() or log.stat().st_size <= limits.LOG_LIMIT:
                time.sleep(0.001)
            limits.cut_log(tmp_path)
            assert (tmp_path / "log.cut.txt").stat().st_size == limits.KEPT
    finally:
        ending.set()
        shouting.join()


@pytest.mark.skipif(not sandbox.version(), reason="this kernel has no Landlock")
def test_a_write_outside_its_folders_is_refused_by_name(settings, job, tmp_path):
    target = settings.project / "oops.txt"
    with pytest.raises(JobFailed, match=r"PermissionError: .*oops\.txt"):
        value(ended(settings, job("stray", {"path": str(target)})))
    assert not target.exists()
    assert value(ended(settings, job("stray", {"path": str(settings.home / "fine.txt")}, key="other"))) == {}


def test_whoever_interrupts_the_waiting_at_a_terminal_ends_the_job_at_a_checkpoint(
    settings, job, table, until, tmp_path
):
    path = tmp_path / "tmp" / "n"

    def interrupt():
        until(path.exists)
        os.kill(os.getpid(), signal.SIGINT)

    attempt = job("count", {"path": str(path), "seconds": 30})
    threading.Thread(target=interrupt).start()
    with pytest.raises(KeyboardInterrupt):
        wait_or_cancel(settings, attempt)
    assert not processes.marked(attempt.path)
    now = table.get(attempt.id)
    assert (now.state, now.reason) == ("LOST", "its submitter was interrupted")  # so that its state is kept
    assert submit.first_of([now], table.get(job("count", {"path": str(path), "seconds": 0}).id)) == 1


def test_a_stop_ends_it_at_a_checkpoint_and_counts_as_lost(settings, job, tmp_path, table, until):
    path = tmp_path / "tmp" / "n"
    attempt = job("count", {"path": str(path), "seconds": 30})
    until(path.exists)
    table.change(attempt.id, stop="the stack goes down")
    found = ended(settings, attempt)
    assert (found.state, found.reason) == ("LOST", "the stack goes down")


def test_the_environment_is_an_allow_list(settings, job, monkeypatch):
    for name, text in {
        "AIRFLOW__CORE__FERNET_KEY": "s1",
        "AWS_SECRET_ACCESS_KEY": "s2",
        "AIRLOOM_SERVER_TOKEN": "s3",
    }.items():
        monkeypatch.setenv(name, text)
    found = value(ended(settings, job("environment")))
    assert not [name for name in found if name.startswith(("AIRFLOW_", "AWS_")) or name == "AIRLOOM_SERVER_TOKEN"]
    spec = JobSpec(step="steps_for_test:environment", environment=["AWS_SECRET_ACCESS_KEY"])
    attempt = ended(settings, submit.submit(settings, "with", spec))
    assert value(attempt)["AWS_SECRET_ACCESS_KEY"] == "s2"
    recorded = [path.read_text() for path in attempt.path.iterdir() if path.name not in ("result.json", "work")]
    assert not [text for text in recorded if "s2" in text]
    assert allowed({"LC_ALL": "C", "X": "1"}) == {"LC_ALL": "C"}


@pytest.mark.parametrize("key", ["../../etc", "/etc/x", "a/b:c é\n", "..", "", "x" * 900])
def test_no_key_leaves_the_jobs_folder(tmp_path, key):
    folder = files.key_folder(tmp_path, key)
    assert folder.resolve().parent == tmp_path / "jobs"
    assert len(folder.name) < 120


def test_keys_that_look_alike_do_not_meet(tmp_path):
    assert files.key_folder(tmp_path, "a/b") != files.key_folder(tmp_path, "a-b")


@pytest.mark.parametrize("wrong", [{"devices": -1}, {"processes": 0}, {"threads": 0}, {"time": 0}, {"memory": -1}])
def test_resources_must_make_sense(wrong):
    with pytest.raises(ConfigError, match=next(iter(wrong))):
        Resources(**wrong)


def test_a_job_is_a_step_or_a_command():
    for wrong in ({}, {"step": "a:b", "command": ["c"]}):
        with pytest.raises(ConfigError):
            JobSpec(**wrong)


def test_jobs_run_in_the_environment_that_the_settings_name(settings, job, tmp_path):
    settings.job_python = environment_beside(tmp_path / "another", torch=True)
    attempt = ended(settings, job("environment"))
    assert value(attempt)["AIRLOOM_JOB_PYTHON"] == settings.job_python
    assert read_launch(attempt.path).spec.interpreter == settings.job_python
    settings.job_python = str(tmp_path / "nowhere" / "python")
    lost = ended(settings, job("environment", key="elsewhere"))
    assert lost.state == "FAILED"
    assert "nowhere/python" in lost.reason
