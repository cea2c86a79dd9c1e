"""One store on SQLite and PostgreSQL: what is given twice counts once, by whoever gives it."""

import threading
from copy import deepcopy

import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as examples
from hypothesis import strategies as st
from served.metric_counts import COUNTS
from services.postgres import postgres
from sqlalchemy import delete, select

from airloom.monitoring import metric_store as store
from airloom.monitoring import metric_tables as tables
from airloom.monitoring.metric_bins import NO_NUMBER
from airloom.monitoring.metric_counts import BINNED, DAY, ERRORS, HOUR, MINUTE, OTHERS, Batch, Cell, Place, add, of_span
from airloom.monitoring.metric_query import ask, records, table
from airloom.settings import Settings


@pytest.fixture(scope="module")
def server():
    with postgres() as address:
        yield address


@pytest.fixture(params=["sqlite", "postgresql"])
def address(request, tmp_path_factory):
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path_factory.mktemp('home') / 'airloom.db'}"
    return request.getfixturevalue("server")


@pytest.fixture(autouse=True)
def empty(address):
    clear(address)


def clear(address):
    with tables.engine(address).begin() as connection:
        for table in (tables.SERIES, tables.ANSWERS, tables.CELLS, tables.BATCHES):
            connection.execute(delete(table))


def stored(address, span=MINUTE):
    """Everything that is in the store, as counts."""
    counts = {}
    with tables.engine(address).connect() as connection:
        series = {row.id: (row.model, row.version, row.role) for row in connection.execute(select(tables.SERIES))}
        answers = {
            (row.model, row.number): bytes(row.answer).decode() for row in connection.execute(select(tables.ANSWERS))
        }
        for row in connection.execute(select(tables.CELLS).where(tables.CELLS.c.span == span)):
            named = {}
            for name in BINNED:
                _, places, sizes = tables.decoded([bytes(getattr(row, name))])
                named[name] = dict(zip(places.tolist(), sizes.tolist(), strict=True))
            named["errors"] = {ERRORS[place]: size for place, size in named["errors"].items()}
            model, version, role = series[row.series]
            named["answers"] = {answers[model, place]: size for place, size in named["answers"].items()}
            cell = Cell(row.requests, row.predictions, **named)
            add(counts, {Place(model, version, role, row.start): cell})
    return counts


def total(parts):
    counts = {}
    for part in parts:
        add(counts, deepcopy(part))
    return counts


@given(st.lists(COUNTS, min_size=1, max_size=4), st.randoms())
@examples(deadline=None, max_examples=15, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_whatever_is_given_in_whatever_order_and_how_often_is_counted_once(address, parts, random):
    clear(address)
    batches = [Batch(f"part {number}", "test", part) for number, part in enumerate(parts)] * 2
    random.shuffle(batches)
    taken = [store.give(address, batch) for batch in batches]
    assert sum(taken) == len(parts)
    for span in (MINUTE, HOUR, DAY):
        assert stored(address, span) == of_span(total(parts), span)


@given(st.lists(COUNTS, min_size=2, max_size=4), st.integers(0, 4), st.integers(0, 4))
@examples(deadline=None, max_examples=15, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_a_file_that_was_made_of_some_that_are_counted_adds_the_others(address, parts, before, after):
    clear(address)
    batches = [Batch(f"part {number}", "test", part) for number, part in enumerate(parts)]
    whole = Batch("whole", "test", total(parts), tuple(batch.name for batch in batches))
    for batch in batches[:before]:
        store.give(address, batch)
    assert store.give(address, whole)
    for batch in batches[:after]:  # of another aggregator, which had opened them before
        assert not store.give(address, batch)
    assert stored(address) == total(parts)


def test_writers_at_once_lose_nothing_and_count_nothing_twice(address):
    place = Place("digits", "1", "champion", 600)
    batches = [Batch(f"b{n}", "test", {place: Cell(1, 2, answers={str(n % 3): 1})}) for n in range(20)]
    taken, barrier = [], threading.Barrier(3)

    def write(mine):
        barrier.wait()
        taken.extend([store.give(address, batch) for batch in mine])

    threads = [threading.Thread(target=write, args=[batches[::step]]) for step in (1, -1, 1)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert taken.count(True) == 20
    assert stored(address) == {place: Cell(20, 40, answers={"0": 7, "1": 7, "2": 6})}


def test_more_answers_than_are_told_apart_are_counted_as_others(address, monkeypatch):
    monkeypatch.setattr(store, "MOST_ANSWERS", 3)
    place = Place("digits", "1", "champion", 0)
    for number, answer in enumerate("abcde"):
        store.give(address, Batch(f"b{number}", "test", {place: Cell(answers={answer: 1})}))
    store.give(address, Batch("again", "test", {place: Cell(answers={"a": 1, "e": 1})}))
    assert stored(address)[place].answers == {"a": 2, "b": 1, "c": 1, OTHERS: 3}


def test_minutes_and_hours_go_after_their_days_and_days_stay(address):
    now = 100 * DAY
    for age in (0, 3, 20):
        place = Place("digits", "1", "champion", now - age * DAY)
        store.give(address, Batch(f"b{age}", "test", {place: Cell(predictions=1)}))
    assert store.expire(address, 2, 10, now) == 3
    assert [len(stored(address, span)) for span in (MINUTE, HOUR, DAY)] == [1, 2, 3]
    assert store.expire(address, 0, 0, now + 1000 * DAY) == 0


def test_the_ledger_forgets_files_that_have_been_gone_for_long(address, monkeypatch):
    for name in ("here", "gone"):
        store.give(address, Batch(name, "mine", {}))
    store.give(address, Batch("other", "another's", {}))
    clock = [1_000_000.0]
    monkeypatch.setattr(store.time, "time", lambda: clock[0])
    store.forget(address, "mine", ["here"])
    clock[0] += store.FORGET - 1
    store.forget(address, "mine", ["here"])
    assert store.names_of(address, "mine") == {"here", "gone"}
    clock[0] += 2
    store.forget(address, "mine", ["here"])
    assert store.names_of(address, "mine") == {"here"}
    assert store.names_of(address, "another's") == {"other"}


def test_questions_have_the_same_answer_on_both(address, tmp_path):
    settings = Settings(home=tmp_path, project=tmp_path, database=address, namespace="", metrics_minute_days=0)
    cell = Cell(4, 3, {"busy": 1}, {0: 2, 48: 1}, {90: 3}, {NO_NUMBER: 1}, {"Hündin": 2, "cat": 1})
    for number, version in enumerate(("2", "10", "2")):
        place = Place("digits", version, "champion", 600 + 60 * number)
        store.give(address, Batch(f"b{number}", "test", {place: cell}))
    for by, sizes in (("", [6, 3]), ("minute", [3, 3, 3]), ("day", [6, 3])):
        rows = records(table(settings, ask(settings, "digits", since="1970-01-01", by=by)))
        assert [row.predictions for row in rows] == sizes
        assert rows[0].answers == {"Hündin": sizes[0] * 2 // 3, "cat": sizes[0] // 3}
        assert rows[0].errors == {"busy": sizes[0] // 3}
        assert rows[0].latency_ms == pytest.approx({"p50": 1.02, "p95": 8.18, "p99": 8.18}, rel=0.01)
        assert (rows[0].numbers, rows[0].scores["p50"]) == ({}, pytest.approx(0.905))
