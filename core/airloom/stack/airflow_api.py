"""The few calls of Airflow's REST API that the command line makes."""

import time
from collections.abc import Collection
from datetime import datetime
from typing import Any
from urllib.parse import quote

import httpx

from airloom.errors import StackError
from airloom.settings import Settings
from airloom.stack.airflow_login import login_of

PAGE = 100
LOCKED = "database is locked"  # what SQLite says where another writer kept it for five seconds
PATIENCE = 30.0  # seconds in which that is asked again
POLL = 0.5
NOTE = 1000  # characters, as Airflow takes them
TaskPlace = tuple[str, str, str, int]  # DAG, run, task, map index: where a task instance is


class AirflowApi:
    """A logged-in client of the Airflow that the settings name, else of the stack's. Use as a context manager."""

    def __init__(self, settings: Settings) -> None:
        self._login = login = login_of(settings)
        # No proxy stands before the stack; certificates and proxies of another Airflow are the environment's affair.
        self._client = httpx.Client(base_url=login.url, timeout=30, trust_env=not login.of_stack)
        self._client.headers["Authorization"] = f"Bearer {login.token or self._token()}"

    def _token(self) -> str:
        answer = self._request(
            "POST", "/auth/token", json={"username": self._login.user, "password": self._login.password}
        )
        if not isinstance(answer, dict) or "access_token" not in answer:
            raise StackError(f"{self._login.url}/auth/token gave no token", self._login.hint)
        return str(answer["access_token"])

    def __enter__(self) -> "AirflowApi":
        return self

    def __exit__(self, *_: object) -> None:
        self._client.close()

    def _request(self, method: str, path: str, **kwargs: Any) -> Any:
        until = time.monotonic() + PATIENCE
        while True:
            try:
                answer = self._client.request(method, path, **kwargs)
            except httpx.HTTPError as error:
                raise StackError(f"Airflow does not answer: {error!r}", self._login.hint) from None
            said = _said(answer) if answer.status_code >= 400 else ""
            if LOCKED not in said or time.monotonic() > until:
                break
            time.sleep(POLL)  # nothing was changed, and nobody would know why to ask again
        if answer.status_code >= 400:
            hint = self._login.hint if answer.status_code in (401, 403) else ""
            raise StackError(f"Airflow answered {answer.status_code} to {method} {path}: {said[:300]}", hint)
        try:
            return answer.json() if answer.content else None
        except ValueError:
            raise StackError(f"{answer.url} answered no JSON, so it is no Airflow", self._login.hint) from None

    def _all(self, path: str, name: str, order: str = "id", **filters: Any) -> list[dict[str, Any]]:
        """Every entry of a list, page by page: Airflow cuts a larger limit to 100 without a word."""
        entries: list[dict[str, Any]] = []
        while True:
            params = filters | {"order_by": order, "limit": PAGE, "offset": len(entries)}
            page = self._request("GET", path, params=params)
            entries += page[name]
            if not page[name] or len(entries) >= page["total_entries"]:
                return entries

    def dags(self, tag: str) -> list[dict[str, Any]]:
        """The DAGs with a tag, those that are paused too."""
        return self._all("/api/v2/dags", "dags", order="dag_id", tags=tag)

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

    def trigger_once(self, dag: str, run: str, conf: dict[str, Any]) -> bool:
        """Start a run with this id; False where it is there already."""
        return self._trigger(dag, {"dag_run_id": run, "conf": conf})

    def trigger_version(self, dag: str, key: str, run: str) -> bool:
        """Start a run about a partition; False where a run with this id is there already."""
        return self._trigger(dag, {"partition_key": key, "dag_run_id": run})

    def _trigger(self, dag: str, body: dict[str, Any]) -> bool:
        try:
            self._request("POST", f"/api/v2/dags/{dag}/dagRuns", json={"logical_date": None} | body)
        except StackError as error:
            if " 409 " in error.message:
                return False
            raise
        return True

    def has_version(self, dag: str, key: str) -> bool:
        """Whether a DAG has a run about a partition."""
        runs = self._all(f"/api/v2/dags/{dag}/dagRuns", "dag_runs", partition_key_pattern=key)
        return any(run["partition_key"] == key for run in runs)

    def dag_or_none(self, dag: str) -> dict[str, Any] | None:
        """All that Airflow knows of a DAG, None where it is gone."""
        return self._or_none(f"{quote(dag, safe='')}/details")

    def assets(self, prefix: str) -> list[dict[str, Any]]:
        """The assets whose addresses begin so, each with its newest event and the DAGs that it schedules."""
        found = self._all("/api/v2/assets", "assets", uri_pattern=prefix)
        return [asset for asset in found if asset["uri"].startswith(prefix)]

    def asset_events(self, asset: int, since: str) -> list[dict[str, Any]]:
        """The events of an asset since a time, as Airflow writes it, oldest first."""
        return self._all("/api/v2/assets/events", "asset_events", "timestamp", asset_id=asset, timestamp_gte=since)

    def asset_state(self, asset: int, key: str) -> Any:
        """What is kept with an asset under a key, None where nothing is."""
        entries = self._all(f"/api/v2/assets/{asset}/state-store", "asset_state_store", "key")
        return next((entry["value"] for entry in entries if entry["key"] == key), None)

    def keep_asset_state(self, asset: int, key: str, value: Any) -> None:
        """Keep a value with an asset."""
        self._request("PUT", f"/api/v2/assets/{asset}/state-store/{quote(key, safe='')}", json={"value": value})

    def scheduler_beat(self) -> datetime | None:
        """When the scheduler went round last; None where there is none."""
        beat = self._request("GET", "/api/v2/monitor/health")["scheduler"]["latest_scheduler_heartbeat"]
        return datetime.fromisoformat(beat) if beat else None

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


def _said(answer: httpx.Response) -> str:
    """What Airflow says of a refusal: of an error of its database the reason, not the statement before it."""
    try:
        detail = answer.json()["detail"]
        return f"{detail['reason']}: {detail['orig_error']}"
    except (ValueError, TypeError, KeyError):
        return answer.text
