"""Ends the MLflow run of each pipeline run that Airflow ended, and opens it again with a retry or a cleared task.

A DAG's last step ends the run when everything went well. A run that fails, or that a person stops, does not come to its
last step, and a hand-written DAG may have none. So the states of Airflow's runs are compared with those of MLflow's,
again and again: what MLflow misses while it is away, it gets when it is back. A thread of the jobs' reconciler does it,
as a dead MLflow may take half a minute to say so.
"""

import logging
import threading
from collections.abc import Callable, Collection
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from airloom.settings import Settings
from airloom.stack import looking
from airloom.stack.airflow_api import AirflowApi
from airloom.tracking import runs
from airloom.tracking.ending import COMPLETE, FAILED, STOPPED, Ending, end_run, open_again

log = logging.getLogger(__name__)
EVERY = 5.0  # seconds between two looks
LOOK_BACK = timedelta(days=1)  # of the first look: what ended while nobody looked
OVERLAP = timedelta(minutes=1)  # of two looks: a transaction of Airflow may come late
SLACK = timedelta(seconds=5)  # a task's own end is noted by its worker, its failure by the server
ACTIVE, OVER = ("queued", "running"), ("failed", "success")
BADLY = ("failed", "upstream_failed")
FAILURE = ("failed", "fail task")  # events: by itself, or with another task of a DAG with `fail_fast`
RESOLVED = ("success", "skipped", "upstream_failed", "removed")  # states of such a task that has nothing more to tell
RESOLVE = ("ResolveOperator", "resolve")  # operator, or task of a DAG that calls the step by itself
RunPlace = tuple[str, str]  # DAG, run


def how_it_ended(state: str | None, tasks: Collection[dict[str, Any]], events: Collection[dict[str, Any]]) -> Ending:
    """How a DAG run ended: a task's own failure leaves the event `failed` in Airflow's audit log, a person's mark none.

    Both change the task's state alone otherwise. The failure and its event are one transaction, so that the log cannot
    lack it; it lacks everything where old events were cleaned away, and then nobody can tell: FAILED.

    Args:
        state: of the DAG run; None where it was deleted.
        tasks: its task instances, as Airflow's API shows them.
        events: of the run, from the audit log.
    """
    if state is None:
        return STOPPED
    if state == "success":
        return COMPLETE
    if not events:
        return FAILED
    failed = [task for task in tasks if task["state"] == "failed"]
    if any(not _by_itself(task, events) for task in failed):
        return STOPPED
    marked_as_a_whole = not any(task["state"] in BADLY for task in tasks) and all(task["state"] for task in tasks)
    return STOPPED if marked_as_a_whole else FAILED


def _by_itself(task: dict[str, Any], events: Collection[dict[str, Any]]) -> bool:
    """Whether a failed task failed in this very try, rather than in one before a person marked it."""
    own = (task["task_id"], _index(task), task["try_number"])
    at = [e["when"] for e in events if e["event"] in FAILURE and (e["task_id"], _index(e), e["try_number"]) == own]
    ended = task.get("end_date")
    return any(not ended or _time(when) >= _time(ended) - SLACK for when in at)


def _index(of: dict[str, Any]) -> int:
    return -1 if of["map_index"] is None else int(of["map_index"])


def _time(text: str) -> datetime:
    return datetime.fromisoformat(text.replace("Z", "+00:00"))


@dataclass(frozen=True)
class DagRun:
    """A run of a DAG, of which Airflow's API told.

    Attributes:
        place: DAG and run.
        state: None where it was deleted.
        queued: ms of Unix time; a clear of any task moves it.
        ended: as Airflow writes it; tells two ends of one run apart.
    """

    place: RunPlace
    state: str | None
    queued: int = 0
    ended: str = ""

    @classmethod
    def of(cls, values: dict[str, Any]) -> "DagRun":
        """From what the API answers."""
        began = values["queued_at"] or values["start_date"]
        queued = int(_time(began).timestamp() * 1000) if began else 0
        return cls((values["dag_id"], values["dag_run_id"]), values["state"], queued, values["end_date"] or "")


class RunEndings:
    """What was seen so far. Nothing of it is kept: a new process looks back."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.since = datetime.now(UTC) - LOOK_BACK
        self.mlflow_runs: dict[RunPlace, list[str]] = {}  # of the DAG runs that are active, or not settled
        self.resolved: set[RunPlace] = set()  # of these, whose every pipeline is resolved: one may have several
        self.active: set[RunPlace] = set()
        self.settled: set[DagRun] = set()

    def look(self, api: AirflowApi) -> None:
        """Compare all runs that are active, or ended since the last look, with MLflow's.

        Raises:
            StackError: Airflow does not answer.
            MlflowAway: MLflow does not answer; the next look begins where this one did.
        """
        now = datetime.now(UTC)
        over = [DagRun.of(values) for values in api.dag_runs_in(OVER, updated_since=self.since)]
        active = [DagRun.of(values) for values in api.dag_runs_in(ACTIVE)]
        gone = self._gone(api, {run.place for run in [*active, *over]})
        well = [self._try(self._keep_open, api, run) for run in active]
        well += [self._try(self._settle, api, run) for run in [*over, *gone] if run not in self.settled]
        self.settled &= set(over)
        if all(well):
            self.since = now - OVERLAP

    def _try(self, act: Callable[[AirflowApi, DagRun], None], api: AirflowApi, run: DagRun) -> bool:
        """Whether it went well; where MLflow refuses one run, the others are not to wait for it."""
        from mlflow.exceptions import MlflowException

        try:
            act(api, run)
        except MlflowException as error:
            log.warning("%s/%s has to wait, as MLflow says: %s", *run.place, str(error)[:200])
            return False
        return True

    def _gone(self, api: AirflowApi, there: set[RunPlace]) -> list[DagRun]:
        """Runs that were active and are in no list any more: deleted, or the list's time ran past them."""
        lost = [(place, api.dag_run_or_none(*place)) for place in self.active - there]
        dag_runs = [DagRun.of(values) if values else DagRun(place, None) for place, values in lost]
        return [run for run in dag_runs if run.state not in ACTIVE]  # it may have changed its list meanwhile

    def _mlflow_runs(self, api: AirflowApi, place: RunPlace) -> list[str]:
        """The MLflow runs that the DAG run's own tasks resolved; none before that, and of DAGs of another kind."""
        if not self.mlflow_runs.get(place) or place not in self.resolved:
            tasks = [t for t in api.tasks(*place) if t["operator_name"] == RESOLVE[0] or t["task_id"] == RESOLVE[1]]
            contexts = [
                api.xcom_or_none(*place, t["task_id"], t["map_index"]) for t in tasks if t["state"] == "success"
            ]
            self.mlflow_runs[place] = [
                str(c["mlflow_run"]) for c in contexts if isinstance(c, dict) and c.get("mlflow_run")
            ]
            if all(task["state"] in RESOLVED for task in tasks):
                self.resolved.add(place)
        return self.mlflow_runs[place]

    def _keep_open(self, api: AirflowApi, run: DagRun) -> None:
        """An active run is open in MLflow, until its last step ends it: that end is later than its last begin."""
        for mlflow_run in self._mlflow_runs(api, run.place):
            self.active.add(run.place)
            status, ended = self._status(mlflow_run)
            if status in (FAILED.status, STOPPED.status) or (status == COMPLETE.status and ended < run.queued):
                open_again(self.settings, mlflow_run)
                log.info("%s/%s runs again: MLflow run %s is open", *run.place, mlflow_run)

    def _settle(self, api: AirflowApi, run: DagRun) -> None:
        for mlflow_run in self._mlflow_runs(api, run.place) if run.state else self.mlflow_runs.get(run.place, []):
            status, ended = self._status(mlflow_run)
            if status == "RUNNING" or ended < run.queued:
                end = self._ending(api, run)
                end_run(self.settings, mlflow_run, end.status, end.outcome)
                log.info("%s/%s: MLflow run %s ended as %s", *run.place, mlflow_run, end.status)
        self.settled.add(run)
        self.active.discard(run.place)
        self.mlflow_runs.pop(run.place, None)
        self.resolved.discard(run.place)

    def _ending(self, api: AirflowApi, run: DagRun) -> Ending:
        if run.state != "failed":
            return how_it_ended(run.state, [], [])
        return how_it_ended(run.state, api.tasks(*run.place), api.events(*run.place))

    def _status(self, mlflow_run: str) -> tuple[str, int]:
        """Status and end in ms of an MLflow run; of one that was deleted, as if it had ended for ever."""
        from mlflow.exceptions import MlflowException

        client = runs.client(self.settings)
        with runs.connection_errors(self.settings):
            try:
                info = client.get_run(mlflow_run).info
            except MlflowException as error:
                if error.error_code != "RESOURCE_DOES_NOT_EXIST":
                    raise
                return "", 2**63
        return ("", 2**63) if info.lifecycle_stage != "active" else (info.status, info.end_time or 0)


def start(settings: Settings) -> threading.Thread:
    """Look for ever, in a thread."""
    return looking.start(settings, "the ends of runs", RunEndings(settings).look, EVERY)
