"""Decisions are kept once, and whoever decides at once knows of the other's run; on SQLite and PostgreSQL."""

import threading
import uuid

import pytest
from services.postgres import postgres

from airloom.monitoring import decisions
from airloom.monitoring.decision import ASK, METRIC, NOTHING, RETRAIN, Limits, MonitorDecision, Signal, Subject, decide
from airloom.monitoring.decisions import Look, RecordedDecision

FELL = Signal(METRIC, "accuracy", "accuracy 0.5 of 200 labelled rows")
LIMITS = Limits([METRIC], cooldown=60, budget=2)
NOW = 1_790_000_000.0


@pytest.fixture(scope="module")
def server():
    with postgres() as address:
        yield address


@pytest.fixture(params=["sqlite", "postgresql"])
def address(request, tmp_path):
    return f"sqlite:///{tmp_path}/airloom.db" if request.param == "sqlite" else request.getfixturevalue("server")


@pytest.fixture
def model():
    return f"digits{uuid.uuid4().hex[:8]}"


def look(model, until=NOW, newest=3):
    return Look(
        model, "3", f"digits@v{newest}", until - 86_400, until, "Ada", "by hand", [FELL], ["a note"], LIMITS.to_dict()
    )


def by_rule(model, newest=3):
    subject = Subject(model, "3", 2, newest)
    return lambda started, now: decide(subject, [FELL], LIMITS, started, now)


def test_the_same_look_has_one_decision_however_often_it_is_made(address, model):
    first = decisions.keep(address, look(model), by_rule(model), lambda: NOW + 5)
    never = decisions.keep(address, look(model), lambda *_: MonitorDecision(NOTHING, "", "other"), lambda: NOW + 900)
    assert first == never
    assert (first.action, first.at, first.signals, first.notes) == (RETRAIN, NOW + 5, [FELL.to_dict()], ["a note"])
    assert first.run == f"monitor__{first.cause}"
    assert first.conf["dataset_version"] == 3
    assert first.conf["cause"].startswith(f"monitor {first.id}: accuracy 0.5")
    assert decisions.of_model(address, model) == [first]
    assert RecordedDecision.from_dict(first.to_dict()) == first


def test_the_newest_comes_first_and_another_models_do_not(address, model):
    for day in range(3):
        until = NOW + day * 86_400
        decisions.keep(address, look(model, until), by_rule(model), lambda until=until: until)
    decisions.keep(address, look(f"{model}x"), by_rule(f"{model}x"), lambda: NOW)
    found = decisions.of_model(address, model)
    assert [one.until for one in found] == [NOW + 2 * 86_400, NOW + 86_400, NOW]
    assert [one.action for one in found] == [ASK, ASK, RETRAIN]  # one run a cause
    assert len(decisions.of_model(address, model, NOW + 86_400)) == 2


def test_of_many_who_decide_at_once_the_budget_holds(address, model):
    """Each has a cause of its own, and no cooldown lies between their looks."""
    errors = []

    def work(place):
        try:
            limits = Limits([METRIC], cooldown=1e-9, budget=2)
            subject = Subject(model, "3", 2, 3 + place)
            decisions.keep(
                address,
                look(model, NOW + place, 3 + place),
                lambda started, now: decide(subject, [FELL], limits, started, now),
                lambda: NOW + place,
            )
        except Exception as error:
            errors.append(error)

    threads = [threading.Thread(target=work, args=(place,)) for place in range(12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not errors
    actions = [one.action for one in decisions.of_model(address, model)]
    assert len(actions) == 12
    assert 1 <= actions.count(RETRAIN) <= 2


def test_two_who_decide_at_once_start_one_run(address, model):
    def work(place):
        decisions.keep(address, look(model, NOW + 60 * place), by_rule(model), lambda: NOW)

    threads = [threading.Thread(target=work, args=(place,)) for place in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [one.action for one in decisions.of_model(address, model)].count(RETRAIN) == 1
