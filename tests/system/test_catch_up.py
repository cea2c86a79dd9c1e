"""Versions that a paused DAG missed, and jobs without the reconciler. Comes before test_mishaps.py ends the stack."""

import sys
import time
from collections.abc import Callable, Iterator

import numpy as np
import pytest
from crash import outside

from airloom.datasets.commit import commit
from airloom.datasets.ingest.images import image_table
from airloom.jobs.states import CANCELLED, RUNNING, SUCCEEDED, Attempt
from airloom.jobs.table import Attempts
from airloom.stack.airflow_api import AirflowApi

pytestmark = [pytest.mark.system, pytest.mark.timeout(600, func_only=True)]
DAGS = f"""
from airflow.sdk import DAG

from airloom.jobs.spec import JobSpec
from airloom_operators.announce import build_announcer
from airloom_operators.assets import each_version
from airloom_operators.job import WaitsForJob
from airloom_operators.resolve import ResolveOperator

PROGRAM = "import time\\nfor number in range(%d): print('line', number, flush=True); time.sleep(0.2)"


class Prints(WaitsForJob):
    def __init__(self, *, lines, **kwargs):
        super().__init__(**kwargs)
        self.lines = lines

    def job_of(self, settings, context):
        ti = context["ti"]
        return f"{{ti.dag_id}}/{{ti.run_id}}/t", JobSpec(command=[{sys.executable!r}, "-c", PROGRAM % self.lines])


announcer = build_announcer("tocks")
with DAG("tocks_paused", schedule=each_version("tocks"), max_active_runs=1, is_paused_upon_creation=True) as paused:
    ResolveOperator(task_id="resolve", pipeline_file="tocks.yaml")
with DAG("prints_deferred") as deferred:
    Prints(task_id="t", lines=50, patience=3)
with DAG("prints_in_place") as in_place:
    Prints(task_id="t", lines=900, deferrable=False)
"""


def until(true: Callable[[], object], seconds: float = 150) -> None:
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end, "not in time"
        time.sleep(0.5)  # a look costs Airflow CPU that the others need


@pytest.fixture(scope="module")
def api(airloom) -> Iterator[AirflowApi]:
    text = (airloom.project / "configs" / "pipelines" / "digits.yaml").read_text()
    text = text.replace("pipeline: digits", "pipeline: tocks").replace("name: digits", "name: tocks")
    (airloom.project / "tocks.yaml").write_text(text)
    (airloom.project / "dags" / "tocks.py").write_text(DAGS)
    with AirflowApi(airloom.settings) as api:
        until(lambda: all(api.dag_or_none(dag) for dag in ("tocks_paused", "prints_deferred", "prints_in_place")))
        yield api


def test_a_dag_that_was_paused_from_its_birth_gets_each_version_once_and_in_order(airloom, api) -> None:
    suite, dag = airloom.project / "configs" / "expectations" / "digits.json", "tocks_paused"
    for seed in range(3):
        random = np.random.default_rng(900 + seed)
        rows = image_table(random.uniform(0.1, 0.6, (50, 1, 8, 8)).astype(np.float32), random.integers(0, 10, 50))
        commit(airloom.settings, "tocks", rows, message="tock", suite=suite)
    (asset,) = api.assets("airloom://datasets/tocks")
    until(lambda: len(api.asset_events(asset["id"], asset["created_at"])) == 3)
    assert api.dag_runs(dag) == []
    started = airloom.json("pipeline", "catch-up", dag, "--from", "v3")
    assert started == [{"version": 3, "run": "catch_up__v3", "started": True}]

    def settled() -> bool:
        runs = api.dag_runs(dag)
        return len(runs) == 3 and {run["state"] for run in runs} == {"success"}

    api._request("PATCH", f"/api/v2/dags/{dag}?update_mask=is_paused", json={"is_paused": False})
    until(settled)
    runs = sorted(api.dag_runs(dag), key=lambda run: run["start_date"])
    assert [run["partition_key"] for run in runs if run["partition_key"] != "v3"] == ["v1", "v2"]
    assert [api.xcom(dag, f"catch_up__v{n}", "resolve")["snapshot"]["version"] for n in (1, 2, 3)] == [1, 2, 3]

    assert api._client.delete(f"/api/v2/dags/{dag}/dagRuns/catch_up__v2").status_code == 204
    assert [run["started"] for run in airloom.json("pipeline", "catch-up", dag, "--from", "1")] == [False, True, False]
    until(settled)


def attempt(airloom, dag: str, run: str) -> Attempt | None:
    return Attempts(airloom.settings.database_address).newest(f"{dag}/{run}/t")


@pytest.mark.parametrize("act", ["failed", "cleared"])
def test_a_person_ends_the_job_of_a_task_that_waits_in_place_without_the_reconciler(airloom, api, act: str) -> None:
    dag = "prints_in_place"
    run = api.trigger(dag, {})
    until(lambda: (found := attempt(airloom, dag, run)) and found.state == RUNNING)
    until(lambda: "line 1" in api.log(dag, run, "t", 1))
    with outside.stopped(outside.part(airloom.settings, "jobs-reconciler")):
        first = attempt(airloom, dag, run)
        if act == "failed":
            api._request("PATCH", f"/api/v2/dags/{dag}/dagRuns/{run}/taskInstances/t", json={"new_state": "failed"})
        else:
            api.clear(dag, run, "t")
        table = Attempts(airloom.settings.database_address)
        until(lambda: table.get(first.id).state == CANCELLED, 60)
        until(lambda: "so its job" in api.log(dag, run, "t", 1), 30)
        assert table.get(first.id).reason == {"failed": "its task failed", "cleared": "its task was cleared"}[act]
    api._request("PATCH", f"/api/v2/dags/{dag}/dagRuns/{run}", json={"state": "failed"})
    until(lambda: not attempt(airloom, dag, run).alive)


def test_a_deferred_tasks_log_has_each_line_of_its_job_once(airloom, api) -> None:
    dag = "prints_deferred"
    run = api.trigger(dag, {})
    until(lambda: (found := attempt(airloom, dag, run)) and found.state == SUCCEEDED)
    until(lambda: api.dag_run_or_none(dag, run)["state"] == "success")
    log = api.log(dag, run, "t", 1).splitlines()
    assert [line for line in log if line.startswith("line ")] == [f"line {number}" for number in range(50)]
    assert any(f"`airloom jobs logs {dag}/{run}/t --follow`" in line for line in log)
