"""The table holds what the jobs layer promises, in both databases."""

import threading
from dataclasses import replace
from pathlib import Path

import pytest
from services.postgres import postgres

from airloom.errors import JobError
from airloom.jobs.table import Attempts
from airloom.jobs.wait import value, wait


@pytest.fixture(scope="module")
def server():
    with postgres() as address:
        yield address


@pytest.fixture(params=["sqlite", "postgresql"])
def address(request, tmp_path):
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'jobs.db'}"
    return request.getfixturevalue("server")


def row(key, number=1, **more):
    return {"key": key, "number": number, "folder": "/f", "name": "n", "host": "h", "task": {}, **more}


def test_only_one_attempt_of_a_key_lives(address):
    table = Attempts(address)
    first = table.add(row("one"))
    assert table.add(row("one", 2)) is None
    assert table.change(first.id, state="FAILED")
    assert table.add(row("one", 1)) is None  # a number is given once
    assert table.add(row("one", 2)).number == 2


def test_of_many_submitters_one_inserts_and_of_many_claims_one_wins(address):
    table = Attempts(address)
    made, won = [], []
    barrier = threading.Barrier(8)

    def race():
        barrier.wait()
        made.append(table.add(row("race")))
        barrier.wait()
        attempt = table.newest("race")
        won.append(table.change(attempt.id, claim=0, token=1))

    threads = [threading.Thread(target=race) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sum(attempt is not None for attempt in made) == 1
    assert won.count(True) == 1


def test_an_old_claim_and_an_ended_attempt_are_not_written(address):
    table = Attempts(address)
    attempt = table.add(row("fence"))
    assert table.change(attempt.id, claim=0, token=1)
    assert not table.change(attempt.id, claim=0, state="RUNNING")
    assert table.change(attempt.id, claim=1, state="CANCELLED")
    assert not table.change(attempt.id, claim=1, state="SUCCEEDED")
    assert table.get(attempt.id).state == "CANCELLED"


def test_lists_are_in_order(address):
    table = Attempts(address)
    ids = [table.add(row(f"order-{number}")).id for number in range(3)]
    assert [a.id for a in table.alive() if a.id in ids] == ids
    assert [a.id for a in table.recent(3)] == ids[::-1]
    with pytest.raises(JobError, match="no attempt 999999"):
        table.get(999_999)


def test_two_that_make_the_table_at_once_are_safe(tmp_path):
    address = f"sqlite:///{tmp_path / 'fresh.db'}"
    errors = []

    def make():
        try:
            Attempts(address).alive()
        except Exception as error:
            errors.append(error)

    threads = [threading.Thread(target=make) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not errors


def test_a_job_runs_with_its_table_in_postgresql(settings, job, server):
    there = replace(settings, database=server)
    found = wait(there, job("hello", {"name": "ada"}, key="postgres", at=there), seconds=200)
    assert value(found)["hello"] == "ada"
    recorded = [path.read_text() for path in Path(found.folder).iterdir() if path.suffix == ".json"]
    assert not [text for text in recorded if "postgresql" in text]  # the address may hold a password
