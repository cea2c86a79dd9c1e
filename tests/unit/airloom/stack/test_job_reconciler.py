"""Which living jobs must end, by the states of their tasks."""

import http.server
import json
import threading
import time
from typing import ClassVar
from urllib.parse import quote

import pytest

from airloom.errors import StackError
from airloom.jobs import files
from airloom.jobs.given_up import verdict
from airloom.jobs.states import RUNNING, Attempt
from airloom.jobs.submit import host
from airloom.jobs.table import Attempts
from airloom.stack.airflow_api import AirflowApi
from airloom.stack.job_reconciler import once


def attempt(generation=2):
    return Attempt(1, "k", 1, generation, RUNNING, "", host(), 1, 1, 1, 0, 0, 0, 0, "/f", "n", 0, "", {"dag": "d"})


@pytest.mark.parametrize(
    ("task", "why"),
    [
        ({"state": "running", "max_tries": 2}, ""),
        ({"state": "deferred", "max_tries": 2}, ""),
        ({"state": "up_for_retry", "max_tries": 2}, ""),
        ({"state": "queued", "max_tries": 2}, ""),
        ({"state": None, "max_tries": 2}, ""),
        ({"state": "restarting", "max_tries": 2}, "was cleared"),
        ({"state": "failed", "max_tries": 2}, "failed"),
        ({"state": "success", "max_tries": 2}, "was marked a success"),
        ({"state": "skipped", "max_tries": 2}, "was skipped"),
        ({"state": "scheduled", "max_tries": 3}, "was cleared"),
        ({"state": "running", "max_tries": 5}, "was cleared"),
        (None, "is gone"),
    ],
)
def test_a_job_ends_when_nobody_waits_for_it(task, why):
    assert why in verdict(attempt(), task)
    assert bool(verdict(attempt(), task)) == bool(why)


class Airflow(http.server.BaseHTTPRequestHandler):
    tasks: ClassVar[list] = []
    asked: ClassVar[list[str]] = []
    page = 100
    missing = "The Mapped Task Instance with dag_id: `d` was not found"

    def do_POST(self):
        if self.path == "/auth/token":
            return self._answer({"access_token": "t"})
        self.asked.append(self.path)
        body = json.loads(self.rfile.read(int(self.headers["content-length"])))
        asked = {"dag_id": "dag_ids", "dag_run_id": "dag_run_ids", "task_id": "task_ids"}
        found = [t for t in self.tasks if all(t[name] in body[names] for name, names in asked.items())]
        page = found[: min(self.page, body["page_limit"])]
        return self._answer({"task_instances": page, "total_entries": len(found)})

    def do_GET(self):
        self.asked.append(self.path)
        for task in self.tasks:
            place = (quote(task["dag_run_id"], safe=""), "taskInstances", task["task_id"], str(task["map_index"]))
            if self.path == f"/api/v2/dags/d/dagRuns/{'/'.join(place)}":
                return self._answer(task)
        return self._answer({"detail": self.missing}, 404)

    def _answer(self, body, status=200):
        data = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("content-length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *_):
        pass


@pytest.fixture
def airflow(tmp_path):
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Airflow)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()


@pytest.mark.parametrize("page", [100, 1], ids=["all in one answer", "the answer is cut"])
def test_only_the_job_of_the_marked_task_is_cancelled(airflow, make_home, tmp_path, monkeypatch, page):
    settings = make_home(tmp_path)
    stack = {"airflow_url": airflow, "airflow_user": "admin", "airflow_password": "p"}
    settings.__dict__["stack"] = stack
    table = Attempts(settings.database_address)
    made = {}
    for run, index in (("r/1", -1), ("r/1", 0), ("gone", -1)):
        folder = tmp_path / f"{run}-{index}".replace("/", "-")
        folder.mkdir()
        row = {"key": f"{run}/{index}", "number": 1, "folder": str(folder), "name": "n", "host": host()}
        row |= {"task": {"dag": "d", "run": run, "task": "t", "map_index": index}, "heartbeat": time.time()}
        assert files.try_lock(folder)  # as its supervisor does
        made[run, index] = table.add(row).id
    there = {"dag_id": "d", "dag_run_id": "r/1", "task_id": "t"}
    Airflow.tasks = [
        {**there, "map_index": -1, "state": "running", "max_tries": 0},
        {**there, "map_index": 0, "state": "failed", "max_tries": 0},
    ]
    monkeypatch.setattr(Airflow, "asked", [])
    monkeypatch.setattr(Airflow, "page", page)
    with AirflowApi(settings) as api:
        assert not once(table, api, tmp_path / "another home")
        assert not Airflow.asked
        assert once(table, api, tmp_path)
        one_by_one = len(Airflow.asked) - 1  # of what the one answer did not have
        Airflow.tasks[0]["state"] = "deferred"
        assert not once(table, api, tmp_path)  # nothing that a later look could miss
    reasons = {place: table.get(identity).cancel for place, identity in made.items()}
    assert reasons == {("r/1", -1): "", ("r/1", 0): "its task failed", ("gone", -1): "its task is gone"}
    assert one_by_one == (1 if page > 1 else 2)


def test_an_airflow_that_only_starts_makes_no_task_gone(airflow, make_home, tmp_path, monkeypatch):
    settings = make_home(tmp_path)
    settings.__dict__["stack"] = {"airflow_url": airflow, "airflow_user": "admin", "airflow_password": "p"}
    monkeypatch.setattr(Airflow, "missing", "Not Found")
    monkeypatch.setattr(Airflow, "tasks", [])
    with AirflowApi(settings) as api, pytest.raises(StackError, match="404"):
        api.task_or_none("d", "r", "t")


def test_a_task_without_a_value_is_told_from_an_airflow_that_only_starts(airflow, make_home, tmp_path, monkeypatch):
    settings = make_home(tmp_path)
    settings.__dict__["stack"] = {"airflow_url": airflow, "airflow_user": "admin", "airflow_password": "p"}
    monkeypatch.setattr(Airflow, "tasks", [])
    with AirflowApi(settings) as api:
        monkeypatch.setattr(Airflow, "missing", "XCom entry with key: `return_value` not found")
        assert api.xcom_or_none("d", "r/1", "t") is None
        monkeypatch.setattr(Airflow, "missing", "Not Found")
        with pytest.raises(StackError, match="404"):
            api.xcom_or_none("d", "r/1", "t")
