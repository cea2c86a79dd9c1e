"""Airflow's runs and MLflow's side by side: each end comes over, however late, and a retry opens the run again."""

from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

import pytest

from airloom.errors import MlflowAway
from airloom.stack.run_endings import RunEndings, how_it_ended
from airloom.tracking import runs
from airloom.tracking.ending import COMPLETE, FAILED, STOPPED
from airloom.tracking.tags import Tag

NOON = datetime(2026, 11, 28, 12, tzinfo=UTC)


def at(seconds: float) -> str:
    return (NOON + timedelta(seconds=seconds)).isoformat().replace("+00:00", "Z")


def task(name: str, state: str | None, number: int = 1, index: int = -1, end: float | None = 0) -> dict:
    ended = None if end is None else at(end)
    return {"task_id": name, "state": state, "try_number": number, "map_index": index, "end_date": ended}


def event(name: str, task_id: str, number: int = 1, index: int | None = None, when: float = 0.1) -> dict:
    return {"event": name, "task_id": task_id, "try_number": number, "map_index": index, "when": at(when)}


BEGAN = event("running", "train")


@pytest.mark.parametrize(
    ("state", "tasks", "events", "ending"),
    [
        ("success", [task("train", "success")], [BEGAN], COMPLETE),
        (None, [], [], STOPPED),
        ("failed", [task("train", "failed")], [BEGAN, event("failed", "train")], FAILED),
        ("failed", [task("train", "failed"), task("gate", "upstream_failed")], [event("failed", "train")], FAILED),
        ("failed", [task("train", "failed")], [BEGAN], STOPPED),
        ("failed", [task("train", "failed"), task("tune", "failed")], [event("failed", "tune")], STOPPED),
        ("failed", [task("train", "failed", 2)], [BEGAN, event("failed", "train", 1)], STOPPED),
        ("failed", [task("train", "failed", end=60)], [event("failed", "train")], STOPPED),
        ("failed", [task("train", "failed", end=None)], [event("failed", "train")], FAILED),
        ("failed", [task("tune", "failed", index=1)], [event("failed", "tune", index=0)], STOPPED),
        ("failed", [task("tune", "failed", index=1)], [event("failed", "tune", index=1)], FAILED),
        ("failed", [task("a", "failed"), task("b", "failed")], [event("failed", "a"), event("fail task", "b")], FAILED),
        ("failed", [task("resolve", "success"), task("train", "skipped")], [BEGAN], STOPPED),
        ("failed", [task("resolve", "success"), task("train", None)], [BEGAN], FAILED),
        ("failed", [task("train", "failed")], [], FAILED),
    ],
    ids=[
        "success",
        "deleted",
        "by itself",
        "with what waits for it",
        "marked",
        "one marked, one by itself",
        "failed, cleared, ran again, marked",
        "failed, cleared, marked before it ran",
        "without an end",
        "another index",
        "its index",
        "with a neighbour",
        "the whole run marked",
        "nothing can go on",
        "old events were cleaned away",
    ],
)
def test_a_persons_mark_is_told_from_a_failure(state, tasks, events, ending) -> None:
    assert how_it_ended(state, tasks, events) == ending


@dataclass
class Airflow:
    """What Airflow's API would answer; the calls that the endings make."""

    runs: dict[tuple[str, str], dict] = field(default_factory=dict)
    all_tasks: list[dict] = field(default_factory=list)
    log: list[dict] = field(default_factory=list)
    contexts: dict[str, object] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)

    def put(self, state: str, *, queued: datetime | None = None) -> None:
        now = datetime.now(UTC)
        old = self.runs.get(("small", "r/1"), {})
        began = queued.isoformat() if queued else old.get("queued_at", (now - timedelta(hours=1)).isoformat())
        ended = now.isoformat() if state in ("failed", "success") else None
        run = {"dag_id": "small", "dag_run_id": "r/1", "state": state, "queued_at": began, "start_date": began}
        self.runs["small", "r/1"] = run | {"end_date": ended, "updated": now}

    def dag_runs_in(self, states, *, updated_since=None) -> list[dict]:
        asked = [run for run in self.runs.values() if run["state"] in states]
        return [run for run in asked if updated_since is None or run["updated"] >= updated_since]

    def dag_run_or_none(self, dag: str, run: str) -> dict | None:
        return self.runs.get((dag, run))

    def tasks(self, dag: str, run: str) -> list[dict]:
        self.asked.append("tasks")
        return self.all_tasks

    def xcom_or_none(self, dag: str, run: str, task_id: str, map_index: int) -> object:
        return self.contexts.get(task_id)

    def events(self, dag: str, run: str) -> list[dict]:
        return self.log


class Pair:
    """A DAG run and its MLflow run."""

    def __init__(self, world) -> None:
        self.world, self.ctx = world, world.ctx()
        resolve = task("fix_the_data", "success") | {"operator_name": "ResolveOperator"}
        self.airflow = Airflow(contexts={"fix_the_data": self.ctx.to_dict()})
        self.airflow.all_tasks = [resolve, task("train", "failed") | {"operator_name": "TrainOperator"}]
        self.airflow.log = [event("failed", "train")]
        self.endings = RunEndings(world.settings)

    def look(self, state: str | None = None, **options) -> tuple[str, str | None]:
        if state:
            self.airflow.put(state, **options)
        self.endings.look(self.airflow)
        return self.seen()

    def seen(self) -> tuple[str, str | None]:
        run = runs.client(self.world.settings).get_run(self.ctx.mlflow_run)
        return run.info.status, run.data.tags.get(Tag.OUTCOME)


@pytest.fixture
def pair(small) -> Pair:
    return Pair(small)


def test_a_run_that_failed_ends_and_a_cleared_task_opens_it_again(pair: Pair) -> None:
    assert pair.look("running") == ("RUNNING", None)
    assert pair.look("failed") == ("FAILED", "failed")
    assert pair.look("queued", queued=datetime.now(UTC)) == ("RUNNING", None)
    pair.airflow.log.clear()
    pair.airflow.log.append(event("running", "train", 2))
    assert pair.look("failed") == ("KILLED", "stopped")
    assert pair.look("running", queued=datetime.now(UTC)) == ("RUNNING", None)
    assert pair.look("success") == ("FINISHED", None)  # of a DAG without a last step


def test_a_run_that_its_last_step_ended_is_left_alone_until_a_task_is_cleared(pair: Pair) -> None:
    pair.look("running")
    client = runs.client(pair.world.settings)
    client.set_tag(pair.ctx.mlflow_run, Tag.OUTCOME, "deployed")
    client.set_terminated(pair.ctx.mlflow_run, "FINISHED")
    for state in ("running", "success", "failed"):  # marked a failure when all was over
        assert pair.look(state) == ("FINISHED", "deployed")
    assert pair.look("running", queued=datetime.now(UTC) + timedelta(seconds=1)) == ("RUNNING", "deployed")


def test_a_run_that_was_cleared_and_failed_between_two_looks_ends_anew(pair: Pair) -> None:
    pair.look("running")
    runs.client(pair.world.settings).set_terminated(pair.ctx.mlflow_run, "FINISHED")
    pair.look("success")
    assert pair.look("failed", queued=datetime.now(UTC) + timedelta(seconds=1)) == ("FAILED", "failed")


def test_a_run_that_was_cleared_and_went_well_between_two_looks_did_not_fail(pair: Pair) -> None:
    pair.look("running")
    assert pair.look("failed") == ("FAILED", "failed")
    assert pair.look("success", queued=datetime.now(UTC) + timedelta(seconds=1)) == ("FINISHED", None)


def test_a_run_that_was_deleted_was_stopped(pair: Pair) -> None:
    pair.look("running")
    pair.airflow.runs.clear()
    assert pair.look() == ("KILLED", "stopped")


def test_what_ended_while_nobody_looked_comes_over(pair: Pair) -> None:
    assert pair.look("failed") == ("FAILED", "failed")


def test_what_ended_while_mlflow_was_away_comes_over_when_it_is_back(pair: Pair, monkeypatch) -> None:
    pair.look("running")

    def away(*_):
        raise MlflowAway("MLflow does not answer", "airloom up")

    with monkeypatch.context() as gone:
        gone.setattr(runs, "client", away)
        pair.airflow.put("failed")
        pair.endings.since = since = datetime.now(UTC) - timedelta(minutes=5)
        for _ in range(3):
            with pytest.raises(MlflowAway):
                pair.endings.look(pair.airflow)
        assert pair.endings.since == since  # however long it was away
    assert pair.look() == ("FAILED", "failed")


def test_a_run_that_mlflow_refuses_does_not_hold_up_the_others(pair: Pair, monkeypatch, caplog) -> None:
    from mlflow.exceptions import MlflowException

    pair.look("running")
    first = pair.airflow.runs["small", "r/1"]
    pair.airflow.put("failed")
    pair.airflow.runs = {("small", "r/0"): first | {"dag_run_id": "r/0"}} | pair.airflow.runs
    status = pair.endings._status
    refused = iter([MlflowException("no", error_code=1)])

    def refuses_once(run: str):
        for error in refused:
            raise error
        return status(run)

    monkeypatch.setattr(pair.endings, "_status", refuses_once)
    since = pair.endings.since
    assert pair.look() == ("FAILED", "failed")
    assert pair.endings.since == since
    assert "small/r/0 has to wait" in caplog.text


def test_a_run_that_is_settled_costs_no_more_questions(pair: Pair) -> None:
    pair.look("failed")
    before = len(pair.airflow.asked)
    pair.look()
    assert len(pair.airflow.asked) == before


@pytest.mark.parametrize("context", [None, "text", {"version": 3}, {"mlflow_run": "0" * 32}])
def test_a_dag_of_another_kind_is_nothing_to_end(pair: Pair, context: object) -> None:
    pair.airflow.contexts["fix_the_data"] = context
    assert pair.look("failed") == ("RUNNING", None)
    assert pair.look("running") == ("RUNNING", None)


def test_a_run_that_was_deleted_in_mlflow_stays_deleted(pair: Pair) -> None:
    client = runs.client(pair.world.settings)
    client.delete_run(pair.ctx.mlflow_run)
    pair.look("running")
    pair.look("failed")
    assert client.get_run(pair.ctx.mlflow_run).info.lifecycle_stage == "deleted"


def test_of_two_pipelines_in_one_dag_run_the_later_one_ends_too(pair, make_world) -> None:
    other = make_world(pair.world.settings, "other").ctx("second")
    waits = task("fix_more_data", "running") | {"operator_name": "ResolveOperator"}
    pair.airflow.all_tasks.append(waits)
    assert pair.look("running") == ("RUNNING", None)
    waits["state"] = "success"
    pair.airflow.contexts["fix_more_data"] = other.to_dict()
    assert pair.look("failed") == ("FAILED", "failed")
    assert runs.client(pair.world.settings).get_run(other.mlflow_run).info.status == "FAILED"
