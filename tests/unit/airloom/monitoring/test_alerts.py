"""Alerts start each cause once and stay within the budget, whatever comes, in both databases; audit rows are kept."""

import threading

import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as how
from hypothesis import strategies as st
from services.postgres import postgres

from airloom import audit
from airloom.monitoring import alerts
from airloom.monitoring.alerts import AGAIN, HOUR, RESOLVED, Alert

NOW = 1_800_000_000.0


@pytest.fixture(scope="module")
def server():
    with postgres() as address:
        yield address


@pytest.fixture(params=["sqlite", "postgresql"])
def address(request, tmp_path):
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'airloom.db'}"
    found = request.getfixturevalue("server")
    with alerts._engine(found).begin() as connection:
        for table in (alerts.ALERTS, alerts.RUNS):
            connection.execute(table.delete())
    return found


def alert(number: int, status: str = "firing", pipeline: str = "digits") -> Alert:
    return Alert({"alertname": "Outside", "pipeline": pipeline, "n": str(number)}, 1000.5, status)


def receive(address, *came, budget=2, now=NOW):
    return alerts.receive(address, came, {one.cause: one.labels["pipeline"] for one in came}, {}, budget, now)


def test_a_cause_is_its_labels_and_its_begin():
    one = alert(1)
    assert Alert(dict(reversed(one.labels.items())), 1000.5, RESOLVED, {"summary": "x"}, 5.0).cause == one.cause
    assert len({one.cause, alert(2).cause, one.with_(starts=1000.25).cause}) == 3


def test_the_same_alert_starts_one_run(address):
    (start,) = receive(address, alert(1))
    alerts.done(address, start)
    assert receive(address, alert(1), now=NOW + 2 * HOUR) == []
    assert receive(address, alert(1, RESOLVED), alert(2, RESOLVED)) == []
    both = {one.alert.labels["n"]: one for one in alerts.seen(address)}
    assert (both["1"].outcome, both["1"].times, both["1"].alert.status) == ("started", 3, RESOLVED)
    assert (both["2"].outcome, both["2"].run) == ("none", "")


def test_a_run_that_was_claimed_by_a_process_that_died_is_started_later_as_the_same(address):
    (start,) = receive(address, alert(1))
    assert receive(address, alert(1), now=NOW + AGAIN / 2) == []
    (again,) = receive(address, alert(1), now=NOW + AGAIN + 1)
    assert (again.run, again.alerts) == (start.run, start.alerts)


def test_a_run_that_failed_takes_nothing_of_the_budget(address):
    (start,) = receive(address, alert(1), budget=1)
    alerts.done(address, start, "Airflow is äway")
    assert [one.reason for one in alerts.seen(address)] == [r"Airflow is \xe4way"]
    (again,) = receive(address, alert(1), budget=1)
    alerts.done(address, again)
    assert receive(address, alert(2), budget=1) == []
    assert "1 are allowed" in next(one.reason for one in alerts.seen(address) if one.outcome == "over budget")
    assert receive(address, alert(2), budget=1, now=NOW + HOUR - 1) == []
    assert len(receive(address, alert(2), budget=1, now=NOW + HOUR + 1)) == 1
    assert receive(address, alert(3, pipeline="other"), budget=0) == []


def test_several_that_receive_at_once_start_one_run(address):
    found, errors = [], []

    def take(number: int) -> None:
        try:
            found.extend(receive(address, alert(1), alert(2 + number % 2), budget=2))
        except Exception as error:
            errors.append(error)

    threads = [threading.Thread(target=take, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []
    assert len({start.run for start in found}) == len(found) == 2
    causes = [one.cause for start in found for one in start.alerts]
    assert sorted(causes) == sorted({alert(number).cause for number in (1, 2, 3)})


@given(
    budget=st.integers(0, 4),
    events=st.lists(
        st.tuples(
            st.integers(1, 1500),
            st.lists(st.tuples(st.integers(0, 9), st.booleans(), st.sampled_from("ab")), min_size=1, max_size=4),
            st.sampled_from(["done", "failed", "died"]),
        ),
        max_size=25,
    ),
)
@how(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_no_sequence_of_alarms_goes_beyond_the_budget_or_starts_a_cause_twice(tmp_path_factory, budget, events):
    address = f"sqlite:///{tmp_path_factory.mktemp('any') / 'airloom.db'}"
    now, started = NOW, dict[str, tuple[str, float]]()
    for wait, came, ending in events:
        now += wait
        told = [alert(number, "firing" if fires else RESOLVED, pipeline) for number, fires, pipeline in came]
        for start in receive(address, *told, budget=budget, now=now):
            assert start.run not in started
            if ending == "died":
                continue
            alerts.done(address, start, "no" if ending == "failed" else "")
            if ending == "done":
                started[start.run] = (start.dag, now)
                for one in start.alerts:
                    assert one.status == "firing"
    for dag in "ab":
        times = sorted(at for owner, at in started.values() if owner == dag)
        assert all(sum(at <= other < at + HOUR for other in times) <= budget for at in times)
    assert all(len(one.run) <= 100 for one in alerts.seen(address))


def test_a_change_is_begun_and_ended(address):
    row = audit.begin(address, "ada\x00", "add labels", "Größe")
    assert audit.rows(address)[0].outcome == "begun"
    audit.end(address, row, audit.DONE, "x" * 3000)
    found = audit.rows(address)[0]
    assert (found.id, found.who, found.object, found.outcome, len(found.detail)) == (
        row,
        "ada\x00",
        "Größe",
        "done",
        2000,
    )
    assert audit.rows(address, since=found.at + 1) == []
