"""A task that waits for its job: each line of the job's log once, and who may end the job."""

import sys
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from airflow.sdk.exceptions import AirflowException, TaskDeferred

from airloom.jobs.files import LOG
from airloom.jobs.spec import JobSpec
from airloom.jobs.submit import end, submit
from airloom.jobs.table import Attempts
from airloom.jobs.wait import wait
from airloom.settings import Settings
from airloom_operators import job
from airloom_operators.triggers.job import JobTrigger

PROGRAM = """
import pathlib, sys, time
print("one\\ntwo\\nthr", end="", flush=True)
while not pathlib.Path(sys.argv[1]).exists():
    time.sleep(0.05)
print("ee")
for number in range(int(sys.argv[2])):
    print(number)
print("last", end="")
"""


class Recorder:
    def __init__(self) -> None:
        self.lines: list[str] = []

    def info(self, text: str, *values: Any) -> None:
        self.lines.append(text % values)

    warning = info


class Prints(job.WaitsForJob):
    """Its job prints, waits for a file, and prints on."""

    log = None  # type: ignore[assignment] # Airflow's is a property

    def __init__(self, *, go: Path, more: int = 0, **kwargs: Any) -> None:
        super().__init__(task_id="prints", **kwargs)
        self.program, self.log, self.shown = [sys.executable, "-c", PROGRAM, str(go), str(more)], Recorder(), []

    def job_of(self, settings: Settings, context: Any) -> tuple[str, JobSpec]:
        return "d/r/prints", JobSpec(command=self.program)

    def log_line(self, line: str) -> None:
        self.shown.append(line)


@pytest.fixture
def settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Settings]:
    monkeypatch.setenv("AIRLOOM_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("AIRLOOM_PROJECT", str(tmp_path))
    settings = Settings()
    settings.make_home()
    yield settings
    table = Attempts(settings.database_address)
    for attempt in table.alive():
        end(table, attempt, "the test is over")


def context() -> dict[str, Any]:
    return {"ti": SimpleNamespace(task_id="prints", map_index=-1, max_tries=0, dag_id="d", run_id="r")}


def begun(settings: Settings, operator: Prints) -> None:
    """The job was submitted, by an earlier try, and has printed what it prints before it waits."""
    key, spec = operator.job_of(settings, None)
    attempt = submit(settings, key, spec)
    until = time.monotonic() + 60
    while not (attempt.path / LOG).exists() or not (attempt.path / LOG).read_text().endswith("thr"):
        assert time.monotonic() < until
        time.sleep(0.05)


def deferred(settings: Settings, operator: Prints) -> JobTrigger:
    begun(settings, operator)
    with pytest.raises(TaskDeferred) as raised:
        operator.execute(context())
    path, values = raised.value.trigger.serialize()
    assert path.endswith("JobTrigger")
    return JobTrigger(**values)


def woken(settings: Settings, operator: Prints, go: Path, event: dict[str, Any]) -> None:
    """Another process goes on with the task when the job has ended."""
    go.touch()
    wait(settings, Attempts(settings.database_address).get(event["attempt"]))
    operator.resume(context(), event)


def test_the_log_of_a_deferred_task_goes_on_where_it_stopped(settings, tmp_path) -> None:
    first, second = (Prints(go=tmp_path / "go", more=3, patience=0) for _ in range(2))
    trigger = deferred(settings, first)
    assert first.shown == ["one", "two"]  # the third is not whole
    assert "`airloom jobs logs d/r/prints --follow`" in first.log.lines[-1]
    woken(settings, second, tmp_path / "go", {"attempt": trigger.attempt, "shown": trigger.shown})
    assert second.shown == ["three", "0", "1", "2", "last"]
    assert second.log.lines == []


def test_what_is_left_out_is_counted_and_named(settings, tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(job, "SHOWN", 3)
    first, second = (Prints(go=tmp_path / "go", more=40, patience=0) for _ in range(2))
    trigger = deferred(settings, first)
    woken(settings, second, tmp_path / "go", {"attempt": trigger.attempt, "shown": trigger.shown})
    assert second.shown == ["38", "39", "last"]
    (line,) = second.log.lines
    assert line.startswith("39 lines of the job's log are left out here: `airloom jobs logs d/r/prints --attempt 1`")
    assert str(Attempts(settings.database_address).get(trigger.attempt).path / LOG) in line


def test_a_task_that_an_earlier_release_deferred_shows_all(settings, tmp_path) -> None:
    operator = Prints(go=tmp_path / "go", patience=0)
    trigger = deferred(settings, operator)
    assert JobTrigger(trigger.attempt, trigger.key).shown == -1
    woken(settings, operator, tmp_path / "go", {"attempt": trigger.attempt})
    assert operator.shown == ["one", "two", "one", "two", "three", "last"]


def states(answer: Any) -> Any:
    def get(**asked: Any) -> dict[str, Any]:
        assert asked == {"dag_id": "d", "task_ids": ["prints"], "run_ids": ["r"], "map_index": -1}
        if isinstance(answer, Exception):
            raise answer
        return answer

    return staticmethod(get)


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        ({"r": {"prints": "running"}}, ""),
        ({"r": {"prints": "up_for_retry"}}, ""),
        (RuntimeError("the API is down"), ""),
        ({"r": {"prints": "failed"}}, "its task failed"),
        ({"r": {"prints": "success"}}, "its task was marked a success"),
        ({"r": {"prints": "restarting"}}, "its task was cleared"),
        ({}, "its task is gone"),
    ],
    ids=["shutdown", "killed by its host", "nobody tells", "marked", "marked a success", "cleared", "deleted"],
)
def test_a_sigterm_ends_the_job_only_where_a_person_marked_cleared_or_deleted_the_task(
    settings, tmp_path, monkeypatch, answer, reason
) -> None:
    from airflow.sdk.execution_time.task_runner import RuntimeTaskInstance

    monkeypatch.setattr(RuntimeTaskInstance, "get_task_states", states(answer))
    operator = Prints(go=tmp_path / "go", deferrable=False)
    begun(settings, operator)
    monkeypatch.setattr(operator, "log_line", lambda _: operator.on_kill())  # while it waits, as Airflow's handler does
    with pytest.raises(AirflowException, match=reason or "told to stop; its job goes on"):
        operator.execute(context())
    (attempt,) = Attempts(settings.database_address).of("d/r/prints")
    assert attempt.cancel == reason
