"""A pipeline run that failed for good, or that a person stopped, in a hand-written DAG without a last step.

After test_loop.py, as it adds runs; before test_mishaps.py, which ends the stack.
"""

import time
from collections.abc import Callable
from pathlib import Path

import pytest

from airloom.stack.airflow_api import AirflowApi
from airloom.stack.run_endings import EVERY
from airloom.tracking import runs
from airloom.tracking.tags import Tag

pytestmark = [pytest.mark.system, pytest.mark.timeout(600, func_only=True)]
DAG = "ends_by_hand"
TEXT = """
import time

from airflow.sdk import Param, dag, task

from airloom_operators.resolve import ResolveOperator


@dag(schedule=None, params={"act": Param("fail")})
def ends_by_hand():
    @task
    def work(file, act):
        if act == "fail" and not open(file).read():
            raise ValueError("for good")
        time.sleep(300 if act == "wait" else 0)

    context = ResolveOperator(task_id="resolve", pipeline_file="configs/pipelines/digits.yaml").output
    context >> work(FILE, "{{ params.act }}")


ends_by_hand()
"""


def until(true: Callable[[], bool], seconds: float = 120) -> None:
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end, "not in time"
        time.sleep(0.5)  # a look costs Airflow and MLflow CPU that the others need


class Run:
    """One run of the DAG, and its MLflow run."""

    def __init__(self, airloom, api: AirflowApi, act: str) -> None:
        self.api, self.client = api, runs.client(airloom.settings)
        self.id = api.trigger(DAG, {"act": act})
        until(lambda: self.state("resolve") == "success")
        self.mlflow_run = api.xcom(DAG, self.id, "resolve")["mlflow_run"]

    def state(self, task: str) -> str | None:
        return next((t["state"] for t in self.api.tasks(DAG, self.id) if t["task_id"] == task), None)

    def seen(self) -> tuple[str, str | None]:
        run = self.client.get_run(self.mlflow_run)
        return run.info.status, run.data.tags.get(Tag.OUTCOME)

    def change(self, place: str, state: dict[str, str]) -> None:
        self.api._request("PATCH", f"/api/v2/dags/{DAG}/dagRuns/{self.id}{place}", json=state)

    def ends(self, status: str, outcome: str | None) -> None:
        until(lambda: self.seen() == (status, outcome))


@pytest.fixture(scope="module")
def mended(airloom) -> Path:
    """The file that decides whether the task can do its work."""
    file = airloom.project / "mended.txt"
    file.write_text("")
    (airloom.project / "dags" / f"{DAG}.py").write_text(TEXT.replace("FILE", repr(str(file))))
    return file


@pytest.fixture(scope="module")
def api(airloom, mended):
    with AirflowApi(airloom.settings) as api:
        until(lambda: any(dag["dag_id"] == DAG for dag in api._all("/api/v2/dags", "dags", "dag_id")))
        yield api


def test_a_run_that_failed_for_good_ends_and_its_cleared_task_opens_it_again(airloom, api, mended) -> None:
    run = Run(airloom, api, "fail")
    assert run.seen()[0] == "RUNNING"
    run.ends("FAILED", "failed")
    mended.write_text("mended")
    api.clear_failed(DAG, run.id)
    run.ends("FINISHED", None)  # it was opened, and went well: how it failed is taken back
    assert len(api.tasks(DAG, run.id)) == 2


@pytest.mark.parametrize(
    ("place", "state"),
    [("/taskInstances/work", {"new_state": "failed"}), ("", {"state": "failed"})],
    ids=["the task", "the run"],
)
def test_a_run_that_a_person_marked_as_failed_was_stopped(airloom, api, place: str, state: dict[str, str]) -> None:
    run = Run(airloom, api, "wait")
    until(lambda: run.state("work") == "running")
    run.change(place, state)
    run.ends("KILLED", "stopped")
    api.clear(DAG, run.id, "work")
    run.ends("RUNNING", None)
    api._request("PATCH", f"/api/v2/dags/{DAG}/dagRuns/{run.id}", json={"state": "failed"})
    run.ends("KILLED", "stopped")


def test_a_run_that_was_deleted_at_once_was_stopped(airloom, api) -> None:
    run = Run(airloom, api, "wait")
    until(lambda: run.state("work") == "running")
    time.sleep(2 * EVERY)  # what the stack never saw it cannot miss
    run.change("", {"state": "failed"})  # Airflow deletes no running one
    assert api._client.delete(f"/api/v2/dags/{DAG}/dagRuns/{run.id}").status_code == 204
    run.ends("KILLED", "stopped")
