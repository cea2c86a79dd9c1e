"""The same statements on SQLite without SQLAlchemy and on PostgreSQL with it; read-only; never made where it is not."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from services.postgres import postgres

from airloom.errors import RegistryError
from airloom.monitoring import counts, totals
from airloom.settings import Settings
from airloom.sql_reader import MOST, Reader

AT = {"first": 1.0, "last": 2.0}


@pytest.fixture(scope="module", params=["sqlite", "postgres"])
def address(request, tmp_path_factory) -> Iterator[str]:
    if request.param == "sqlite":
        yield f"sqlite:///{tmp_path_factory.mktemp('sql') / 'a data base.db'}"
        return
    with postgres() as found:
        yield found


def test_totals_of_all_writers_are_added_and_a_repeated_write_counts_once(address, tmp_path) -> None:
    settings = Settings(home=tmp_path, project=tmp_path, database=address)
    assert totals.predictions(settings) == {}
    for writer, total in [("one", 5), ("two", 7), ("one", 6), ("one", 6)]:
        counts.write(address, writer, {("digits", "1"): {"total": total, **AT}, ("it's", "2"): {"total": 1, **AT}}, 5)
    assert totals.predictions(settings) == {("digits", "1"): 13, ("it's", "2"): 2}


def test_more_values_than_one_statement_takes(address) -> None:
    many = {("many", str(number)): {"total": number, **AT} for number in range(2 * MOST + 3)}
    counts.write(address, "three", many, 5)
    statement = "SELECT version, total FROM prediction_counts WHERE model = :model AND version IN (:wanted)"
    found = Reader(address).rows_of(statement, [version for _, version in many], model="many")
    assert sorted((int(version), total) for version, total in found) == [(n, n) for n in range(2 * MOST + 3)]
    assert Reader(address).rows_of(statement, [], model="many") == []


def test_tables_are_looked_for(address) -> None:
    read = Reader(address)
    assert read.has("prediction_counts")
    assert not read.has("prediction_counts", "nothing")
    with pytest.raises(RegistryError, match="cannot be read"):
        read.rows("SELECT nothing FROM nowhere")


def test_sqlite_is_neither_written_nor_made(tmp_path: Path) -> None:
    read = Reader(f"sqlite:///{tmp_path / 'none.db'}")
    assert not read.has("runs")
    assert list(tmp_path.iterdir()) == []
    counts.write(read.address, "one", {("digits", "1"): {"total": 1, **AT}}, 5)
    with pytest.raises(RegistryError, match="readonly"):
        read.rows("DELETE FROM prediction_counts")
