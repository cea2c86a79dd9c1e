"""The few calls of Airflow's REST API that the command line makes."""

from collections.abc import Collection
from datetime import datetime
from typing import Any
from urllib.parse import quote

import httpx

from airloom.errors import StackError
from airloom.settings import Settings

PAGE = 100
NOTE = 1000  # characters, as Airflow takes them
TaskPlace = tuple[str, str, str, int]  # DAG, run, task, map index: where a task instance is


class AirflowApi:
    """A logged-in client of the stack's Airflow. Use as a context manager."""

    def __init__(self, settings: Settings) -> None:
        if not settings.stack:
            raise StackError("no stack was started here", "`airloom up`")
        stack = settings.stack
        self._client = httpx.Client(base_url=str(stack["airflow_url"]), timeout=30, trust_env=False)
        login = {"username": stack["airflow_user"], "password": stack["airflow_password"]}
        token = self._request("POST", "/auth/token", json=login)["access_token"]
        self._client.headers["Authorization"] = f"Bearer {token}"

    def __enter__(self) -> "AirflowApi":
        return self

    def __exit__(self, *_: object) -> None:
        self._client.close()

    def _request(self, method: str, path: str, **kwargs: Any) -> Any:
        try:
            answer = self._client.request(method, path, **kwargs)
        except httpx.HTTPError as error:
            raise StackError(f"Airflow does not answer: {error!r}", "`airloom status`") from None
        if answer.status_code >= 400:
            raise StackError(f"Airflow answered {answer.status_code} to {method} {path}: {answer.text[:300]}")
        return answer.json()

    def _all(self, path: str, name: str, order: str = "id", **filters: Any) -> list[dict[str, Any]]:
        """Every entry of a list, page by page: Airflow cuts a larger limit to 100 without a word."""
        entries: list[dict[str, Any]] = []
        while True:
            params = filters | {"order_by": order, "limit": PAGE, "offset": len(entries)}
            page = self._request("GET", path, params=params)
            entries += page[name]
            if not page[name] or len(entries) >= page["total_entries"]:
                return entries

    def dag_runs(self, dag: str) -> list[dict[str, Any]]:
        """All runs of a DAG, oldest first; empty while the DAG is not known yet."""
        try:
            return self._all(f"/api/v2/dags/{dag}/dagRuns", "dag_runs")
        except StackError as error:
            if " 404 " in error.message:
                return []
            raise

    def dag_runs_in(self, states: Collection[str], *, updated_since: datetime | None = None) -> list[dict[str, Any]]:
        """The runs of all DAGs that are in one of these states, of those that changed since then."""
        since = {"updated_at_gte": updated_since.isoformat()} if updated_since else {}
        return self._all("/api/v2/dags/~/dagRuns", "dag_runs", state=list(states), **since)

    def dag_run_or_none(self, dag: str, run: str) -> dict[str, Any] | None:
        """One run of a DAG, None where it is gone."""
        return self._or_none("/".join(quote(part, safe="") for part in (dag, "dagRuns", run)))

    def events(self, dag: str, run: str) -> list[dict[str, Any]]:
        """What the audit log has of a run and its tasks."""
        return self._all("/api/v2/eventLogs", "event_logs", dag_id=dag, run_id=run)

    def tasks(self, dag: str, run: str) -> list[dict[str, Any]]:
        """The task instances of a run."""
        return self._all(f"/api/v2/dags/{dag}/dagRuns/{quote(run, safe='')}/taskInstances", "task_instances")

    def tasks_at(self, places: Collection[TaskPlace]) -> dict[TaskPlace, dict[str, Any]]:
        """Task instances at these places, by one request; not all need be there, as it brings no more than a page."""
        dags, runs, tasks = (sorted({str(place[part]) for place in places}) for part in range(3))
        body = {"dag_ids": dags, "dag_run_ids": runs, "task_ids": tasks, "page_limit": PAGE}
        page = self._request("POST", "/api/v2/dags/~/dagRuns/~/taskInstances/list", json=body)
        by_place = {
            (task["dag_id"], task["dag_run_id"], task["task_id"], task["map_index"]): task
            for task in page["task_instances"]
        }
        return {place: by_place[place] for place in places if place in by_place}

    def task_or_none(self, dag: str, run: str, task: str, map_index: int = -1) -> dict[str, Any] | None:
        """One task instance, None where it, or its run, is gone.

        Args:
            dag: its id.
            run: of the DAG.
            task: its id.
            map_index: of a mapped task.
        """
        return self._or_none(
            "/".join(quote(part, safe="") for part in (dag, "dagRuns", run, "taskInstances", task, str(map_index)))
        )

    def _or_none(self, place: str) -> dict[str, Any] | None:
        try:
            return dict(self._request("GET", f"/api/v2/dags/{place}"))
        except StackError as error:
            if (
                " 404 " in error.message and "was not found" in error.message
            ):  # no other 404, such as of a server that starts
                return None
            raise

    def trigger(self, dag: str, conf: dict[str, Any]) -> str:
        """Start a run; returns its id. `conf` overrides the DAG's params, checked by their schema."""
        body = {"logical_date": None, "conf": conf}
        return str(self._request("POST", f"/api/v2/dags/{dag}/dagRuns", json=body)["dag_run_id"])

    def note(self, dag: str, run: str, text: str) -> None:
        """Write a note on a run, after what stands there already; the same is not written twice."""
        place = f"/api/v2/dags/{dag}/dagRuns/{quote(run, safe='')}"
        there = self._request("GET", place)["note"] or ""
        if text not in there:
            self._request("PATCH", place, json={"note": f"{there}\n\n{text}".strip()[:NOTE]})

    def clear(self, dag: str, run: str, task: str) -> None:
        """Run a task and all that follows it again."""
        body = {"dry_run": False, "dag_run_id": run, "task_ids": [task], "include_downstream": True}
        body |= {"only_failed": False, "reset_dag_runs": True}
        self._request("POST", f"/api/v2/dags/{dag}/clearTaskInstances", json=body)

    def clear_failed(self, dag: str, run: str) -> None:
        """Run a run's failed tasks, and what they held up, again."""
        body = {"dry_run": False, "dag_run_id": run, "only_failed": True, "reset_dag_runs": True}
        self._request("POST", f"/api/v2/dags/{dag}/clearTaskInstances", json=body)

    def xcom(self, dag: str, run: str, task: str, map_index: int = -1) -> Any:
        """The return value of a task.

        Args:
            dag: its id.
            run: of the DAG.
            task: its id.
            map_index: of a mapped task.

        Raises:
            StackError: it has none, or Airflow does not answer.
        """
        path = f"/api/v2/dags/{dag}/dagRuns/{quote(run, safe='')}/taskInstances/{task}/xcomEntries/return_value"
        return self._request("GET", path, params={"map_index": map_index, "deserialize": "false"})["value"]

    def xcom_or_none(self, dag: str, run: str, task: str, map_index: int = -1) -> Any:
        """The return value of a task, None where it has none.

        Args:
            dag: its id.
            run: of the DAG.
            task: its id.
            map_index: of a mapped task.
        """
        try:
            return self.xcom(dag, run, task, map_index)
        except StackError as error:
            if " 404 " in error.message and "XCom entry" in error.message:
                return None
            raise

    def log(self, dag: str, run: str, task: str, attempt: int, map_index: int = -1) -> str:
        """A task's log as text, with the messages of its errors.

        Args:
            dag: its id.
            run: of the DAG.
            task: its id.
            attempt: the number of its try.
            map_index: of a mapped task.
        """
        path = f"/api/v2/dags/{dag}/dagRuns/{run}/taskInstances/{task}/logs/{attempt}"
        content = self._request("GET", path, params={"map_index": map_index, "full_content": True})["content"]
        return "\n".join(_text(line) for line in content)

    def pools(self) -> list[dict[str, Any]]:
        """All pools with their slots."""
        return self._all("/api/v2/pools", "pools")

    def resize_pool(self, name: str, slots: int) -> None:
        """Give a pool another number of slots; what runs in it goes on."""
        self._request("PATCH", f"/api/v2/pools/{name}?update_mask=slots", json={"slots": slots})

    def full_pools(self) -> list[str]:
        """A sentence for each pool in which tasks wait because all its slots are taken (-1 slots: without limit)."""
        hint = "they go on when a slot is free, or when the pool gets more slots (Airflow, Admin, Pools)"
        return [
            f"pool {p['name']} is full: {p['occupied_slots']} of {p['slots']} slots taken, "
            f"{p['scheduled_slots']} waiting; {hint}"
            for p in self.pools()
            if p["slots"] != -1 and p["open_slots"] <= 0 and p["scheduled_slots"]
        ]

    def import_errors(self) -> list[dict[str, Any]]:
        """DAG files that could not be read."""
        return self._all("/api/v2/importErrors", "import_errors")


def _text(line: Any) -> str:
    """One entry of a structured log; Airflow keeps what was raised beside the event, not in it."""
    if not isinstance(line, dict):
        return str(line)
    raised = [f"{error['exc_type']}: {error['exc_value']}" for error in line.get("error_detail") or []]
    return "\n".join([str(line.get("event", line)), *raised])
