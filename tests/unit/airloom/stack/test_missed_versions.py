"""Versions that were announced while a DAG was paused: each gets one run, in order, whatever happens in between."""

from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from airloom.errors import ConfigError, DataError, StackError
from airloom.settings import Settings
from airloom.spec.pipeline import SKIP_MISSED
from airloom.stack import missed_versions
from airloom.stack.missed_versions import MissedVersions, VersionRun, catch_up

NOON = datetime(2026, 11, 28, 12, tzinfo=UTC)
URI = "airloom://datasets/ticks"


class Airflow:
    """What Airflow does with the events of one dataset and one DAG, as far as its API shows it."""

    def __init__(self, *, paused: bool = False, tags: tuple[str, ...] = ()) -> None:
        self.now = NOON
        self.events: list[dict[str, Any]] = []
        self.state: dict[str, Any] = {}
        self.runs: list[str] = []
        self.made: list[str] = []  # runs that were ever made, in order; a person may have deleted some
        self.pending: list[str] = []  # the scheduler has the event, and did not go round yet
        self.deleted: set[int] = set()
        self.requests = 0
        self.dag = {"is_paused": paused, "is_stale": False, "has_import_errors": False, "timetable_partitioned": True}
        self.dag |= {"asset_expression": {"asset": {"uri": URI}}, "tags": [{"name": tag} for tag in tags]}

    def announce(self, key: str = "") -> None:
        self.now += timedelta(seconds=0.1)
        key = key or f"v{len(self.events) + 1}"
        self.events.append({"partition_key": key, "timestamp": self.now.isoformat(), "created_dagruns": []})
        if not self.dag["is_paused"]:
            self.pending.append(key)

    def pause(self, paused: bool = True) -> None:
        self.dag["is_paused"] = paused

    def go_round(self) -> None:
        """The scheduler makes the runs of its events, whether the DAG is paused by now or not."""
        self.now += timedelta(seconds=6)
        for key in self.pending:
            self._run(key)
            made = next(event for event in self.events if event["partition_key"] == key)
            made["created_dagruns"].append({"dag_id": "one"})
        self.pending = []

    def _run(self, key: str) -> None:
        self.runs.append(key)
        self.made.append(key)

    def delete_run(self) -> None:
        """A person deletes the newest run."""
        for key in self.runs[-1:]:
            self.runs.remove(key)
            for event in self.events:
                if event["partition_key"] == key:
                    event["created_dagruns"] = []

    def history(self, *_: Any) -> list[tuple[Any, bool]]:
        numbers = range(1, len(self.events) + 1)
        return [(SimpleNamespace(number=number), number in self.deleted) for number in numbers]

    def list_versions(self, *_: Any) -> list[Any]:
        return [version for version, gone in self.history() if not gone]

    # What AirflowApi has.
    def assets(self, prefix: str) -> list[dict[str, Any]]:
        assert URI.startswith(prefix)
        self.requests += 1
        last = {"id": len(self.events), "timestamp": self.events[-1]["timestamp"]} if self.events else None
        dags = [{"dag_id": "one", "created_at": NOON.isoformat()}]
        return [{"id": 7, "uri": URI, "last_asset_event": last, "scheduled_dags": dags}]

    def dag_or_none(self, dag: str) -> dict[str, Any] | None:
        self.requests += 1
        return self.dag if dag == "one" else None

    def asset_events(self, asset: int, since: str) -> list[dict[str, Any]]:
        self.requests += 1
        return [event for event in self.events if asset == 7 and event["timestamp"] >= since]

    def asset_state(self, asset: int, key: str) -> Any:
        return self.state.get(key) if asset == 7 else None

    def keep_asset_state(self, asset: int, key: str, value: Any) -> None:
        assert asset == 7
        self.state[key] = value

    def has_version(self, dag: str, key: str) -> bool:
        return dag == "one" and key in self.runs

    def scheduler_beat(self) -> datetime | None:
        return self.now

    def trigger_version(self, dag: str, key: str, run: str) -> bool:
        assert (dag, run) == ("one", f"catch_up__{key}")
        self._run(key)
        return True


@pytest.fixture
def made(tmp_path, monkeypatch):
    def make(**kwargs: Any) -> tuple[Airflow, MissedVersions]:
        airflow = Airflow(**kwargs)
        monkeypatch.setattr(missed_versions.versions, "history", airflow.history)
        monkeypatch.setattr(missed_versions.versions, "list_versions", airflow.list_versions)
        monkeypatch.setattr(missed_versions.versions, "highest", lambda *_: len(airflow.events))
        return airflow, MissedVersions(Settings(home=tmp_path))

    return make


def settle(airflow: Airflow, missed: MissedVersions) -> None:
    for _ in range(4):
        missed.look(airflow)
        airflow.go_round()
    missed.look(airflow)


def test_what_was_announced_while_paused_gets_its_runs_in_order_once(made) -> None:
    airflow, missed = made()
    airflow.announce()
    settle(airflow, missed)
    airflow.pause()
    for _ in range(3):
        airflow.announce()
    settle(airflow, missed)
    assert airflow.made == ["v1"]  # paused is paused
    airflow.pause(False)
    missed.look(airflow)  # at once: that they are missing was seen before
    assert airflow.made == ["v1", "v2", "v3", "v4"]
    settle(airflow, missed)
    settle(airflow, MissedVersions(missed.settings))  # after a restart
    assert airflow.made == ["v1", "v2", "v3", "v4"]


def test_a_dag_that_airflow_paused_at_its_creation_misses_nothing(made) -> None:
    airflow, missed = made(paused=True)
    airflow.announce()
    airflow.announce()
    settle(airflow, missed)
    airflow.pause(False)
    airflow.announce()
    settle(airflow, missed)
    assert sorted(airflow.made) == ["v1", "v2", "v3"]
    assert [key for key in airflow.made if key != "v3"] == ["v1", "v2"]


def test_a_run_that_the_scheduler_is_about_to_make_is_not_made_twice(made) -> None:
    airflow, missed = made()
    airflow.announce()
    for _ in range(5):  # it stands still: its heartbeat says so
        missed.look(airflow)
    assert airflow.made == []
    airflow.go_round()
    settle(airflow, missed)
    assert airflow.made == ["v1"]


def test_a_run_that_a_person_deleted_and_a_version_that_is_gone_are_left_alone(made) -> None:
    airflow, missed = made(paused=True)
    airflow.announce()
    airflow.announce()
    airflow.announce()
    airflow.deleted.add(2)
    settle(airflow, missed)
    airflow.pause(False)
    settle(airflow, missed)
    assert airflow.made == ["v1", "v3"]
    airflow.delete_run()
    settle(airflow, missed)
    settle(airflow, MissedVersions(missed.settings))  # after a restart
    airflow.announce()
    settle(airflow, missed)
    assert airflow.made == ["v1", "v3", "v4"]


def test_where_nothing_is_kept_what_lies_before_the_newest_run_may_have_been_deleted(made) -> None:
    airflow, missed = made()
    airflow.announce()
    airflow.announce()
    airflow.go_round()
    airflow.runs.remove("v1")
    airflow.events[0]["created_dagruns"] = []
    settle(airflow, missed)
    assert airflow.made == ["v1", "v2"]


def test_a_dag_that_skips_gets_only_what_comes_while_it_is_not_paused(made) -> None:
    airflow, missed = made(paused=True, tags=(SKIP_MISSED,))
    airflow.announce()
    settle(airflow, missed)
    airflow.pause(False)
    settle(airflow, missed)
    airflow.announce()
    settle(airflow, missed)
    airflow.dag["tags"] = []
    settle(airflow, MissedVersions(missed.settings))
    assert airflow.made == ["v2"]


@pytest.mark.parametrize("what", [{"asset_expression": {"any": []}}, {"timetable_partitioned": False}])
def test_a_dag_that_is_scheduled_in_another_way_is_left_alone(made, what) -> None:
    airflow, missed = made(paused=True)
    airflow.dag |= what
    airflow.announce()
    airflow.pause(False)
    settle(airflow, missed)
    assert airflow.made == []


@pytest.mark.parametrize("what", ["is_stale", "has_import_errors"])
def test_a_dag_that_airflow_cannot_start_is_started_when_it_can(made, what) -> None:
    airflow, missed = made(paused=True)
    airflow.announce()
    settle(airflow, missed)
    airflow.pause(False)
    airflow.dag[what] = True
    settle(airflow, missed)
    assert airflow.made == []
    airflow.dag[what] = False
    settle(airflow, missed)
    assert airflow.made == ["v1"]


def test_an_idle_look_is_one_request_and_one_more_for_a_paused_dag_that_waits(made) -> None:
    airflow, missed = made(paused=True)
    airflow.announce()
    settle(airflow, missed)
    before = airflow.requests
    missed.look(airflow)
    assert airflow.requests - before == 2
    airflow.pause(False)
    settle(airflow, missed)
    before = airflow.requests
    missed.look(airflow)
    assert airflow.requests - before == 1


def test_what_airflow_refuses_for_one_dag_is_logged_once_and_tried_again(made, caplog, monkeypatch) -> None:
    airflow, missed = made(paused=True)
    airflow.announce()
    settle(airflow, missed)
    airflow.pause(False)

    def refuse(*_: Any) -> bool:
        raise StackError("Airflow answered 403 to POST")

    with monkeypatch.context() as patch:
        patch.setattr(airflow, "trigger_version", refuse)
        settle(airflow, missed)
    assert len([r for r in caplog.records if "403" in r.getMessage()]) == 1
    settle(airflow, missed)
    assert airflow.made == ["v1"]


@given(st.lists(st.sampled_from(["announce", "pause", "unpause", "look", "go_round", "restart", "delete_run"])))
@example(["unpause", "announce", "go_round", "delete_run"])  # while an older version waits
@example(["unpause", "announce", "go_round", "restart", "delete_run"])
def test_every_version_has_one_run_whatever_happens(actions: list[str]) -> None:
    airflow = Airflow(paused=True)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(missed_versions.versions, "history", airflow.history)
        settings = Settings()
        missed = MissedVersions(settings)
        airflow.announce()
        missed.look(airflow)
        for action in actions:
            if action == "restart":
                missed = MissedVersions(settings)
            elif action in ("pause", "unpause"):
                airflow.pause(action == "pause")
            elif action == "look":
                missed.look(airflow)
            else:
                getattr(airflow, action)()
                missed.look(airflow)  # a run that is deleted before anybody looked was never there
        airflow.pause(False)
        settle(airflow, missed)
    assert sorted(airflow.made) == sorted(event["partition_key"] for event in airflow.events)


def test_catch_up_starts_a_run_for_each_version_that_has_none(made, tmp_path) -> None:
    airflow, _ = made(paused=True)
    for _ in range(4):
        airflow.announce()
    airflow.deleted.add(3)
    airflow.runs.append("v2")
    airflow.now += timedelta(minutes=1)
    expected = [VersionRun(2, "", False), VersionRun(4, "catch_up__v4", True)]
    assert catch_up(Settings(home=tmp_path), airflow, "one", 2) == expected
    assert airflow.made == ["v4"]
    with pytest.raises(DataError, match="no version from v5 on"):
        catch_up(Settings(home=tmp_path), airflow, "one", 5)
    with pytest.raises(ConfigError, match="two is no DAG") as refused:
        catch_up(Settings(home=tmp_path), airflow, "two", 1)
    assert "one" in refused.value.hint


def test_catch_up_waits_until_the_scheduler_has_gone_round(made, tmp_path, monkeypatch) -> None:
    airflow, _ = made()
    airflow.announce()
    monkeypatch.setattr(missed_versions.time, "sleep", lambda _: airflow.go_round())
    assert catch_up(Settings(home=tmp_path), airflow, "one", 1) == [VersionRun(1, "", False)]
    monkeypatch.setattr(missed_versions, "WAIT", -1.0)
    airflow.announce()
    with pytest.raises(StackError, match="has not gone round"):
        catch_up(Settings(home=tmp_path), airflow, "one", 1)
    assert airflow.made == ["v1"]
