"""Our own tables: a new file of SQLite that many open at once."""

import sqlite3
import subprocess
import sys
import threading
import time

import pytest
from sqlalchemy import Column, Integer, MetaData, Table, insert, select
from sqlalchemy.exc import OperationalError

from airloom import __version__, database, schema
from airloom.errors import ConfigError, CorruptFile, StateError

METADATA = MetaData()
ROWS = Table("rows", METADATA, Column("id", Integer, primary_key=True))


def opened(file, locked=10.0):
    """What a process does that has not opened it yet."""
    return database.engine.__wrapped__(f"sqlite:///{file}", METADATA, locked)


@pytest.fixture
def writer(tmp_path):
    """The file, and a connection from before its mode changed that writes into it: SQLite itself does not wait then."""
    connection = sqlite3.connect(tmp_path / "a.db", isolation_level=None, check_same_thread=False)
    connection.execute("BEGIN IMMEDIATE")
    yield tmp_path / "a.db", connection
    connection.close()


def test_a_new_file_that_another_one_writes_to_is_waited_for(writer):
    file, connection = writer
    ends = threading.Timer(0.3, connection.execute, ["COMMIT"])
    ends.start()
    began = time.monotonic()
    with opened(file).begin() as ours:
        ours.execute(insert(ROWS).values(id=7))
        assert ours.execute(select(ROWS.c.id)).scalars().all() == [7]
        assert ours.exec_driver_sql("PRAGMA journal_mode").scalar() == "wal"
    assert time.monotonic() - began > 0.2
    ends.join()


def test_the_wait_has_an_end(writer):
    file, _ = writer
    with pytest.raises(OperationalError, match="database is locked"):
        opened(file, locked=0.2)


@pytest.mark.parametrize(("synchronous", "number"), [("NORMAL", 1), ("FULL", 2)])
def test_a_power_cut_is_guarded_against_where_asked_for(tmp_path, synchronous, number):
    made = database.engine(f"sqlite:///{tmp_path}/a.db", METADATA, synchronous=synchronous)
    with made.begin() as ours:
        assert ours.exec_driver_sql("PRAGMA synchronous").scalar() == number


def test_a_file_that_is_no_database_is_named(tmp_path):
    (tmp_path / "a.db").write_text("nonsense")
    with pytest.raises(CorruptFile, match=r"a\.db is no SQLite database"):
        opened(tmp_path / "a.db")


def test_a_database_that_is_damaged_inside_is_named(tmp_path):
    file = tmp_path / "a.db"
    with opened(file).begin() as ours:
        ours.execute(insert(ROWS), [{"id": number} for number in range(5000)])
    with sqlite3.connect(file) as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    connection.close()
    file.write_bytes(file.read_bytes()[:100] + bytes(file.stat().st_size - 100))
    with pytest.raises(CorruptFile, match=r"a\.db is damaged"):
        opened(file)


def content(file):
    """Of a database, without its mode and what SQLite counts."""
    with sqlite3.connect(file) as connection:
        return list(connection.iterdump())


def test_new_tables_know_the_version_that_made_them(tmp_path):
    with opened(tmp_path / "a.db").connect() as ours:
        assert database.schema_of(ours) == (schema.VERSION, __version__)


def test_tables_of_the_releases_before_are_of_version_1_and_stay_as_they_are(tmp_path):
    with sqlite3.connect(tmp_path / "a.db") as connection:
        connection.execute("CREATE TABLE gate_tries (id INTEGER PRIMARY KEY)")
        connection.execute("CREATE TABLE rows (id INTEGER PRIMARY KEY)")
    before = content(tmp_path / "a.db")
    with opened(tmp_path / "a.db").connect() as ours:
        assert database.schema_of(ours) == (1, "")
    assert content(tmp_path / "a.db") == before


def test_tables_of_a_newer_release_are_refused_before_anything_is_written(tmp_path):
    with sqlite3.connect(tmp_path / "a.db") as connection:
        connection.execute("CREATE TABLE airloom_schema (id INTEGER, version INTEGER, airloom VARCHAR)")
        connection.execute("INSERT INTO airloom_schema VALUES (1, 99, '7.0')")
    before = content(tmp_path / "a.db")
    with pytest.raises(StateError, match=r"a\.db is of schema 99, by Airloom 7\.0") as caught:
        opened(tmp_path / "a.db")
    assert "install that release" in caught.value.hint
    assert content(tmp_path / "a.db") == before


def test_a_column_that_is_missing_is_named(tmp_path):
    with sqlite3.connect(tmp_path / "a.db") as connection:
        connection.execute("CREATE TABLE rows (other INTEGER)")
        connection.execute("CREATE TABLE job_attempts (other INTEGER)")
    with pytest.raises(StateError, match="its table rows lacks id"):
        opened(tmp_path / "a.db")


def test_another_engine_on_the_same_file_takes_no_lock_of_the_first_away(tmp_path):
    """POSIX drops a process's locks on a file when it closes any descriptor of it: who closes its last connection
    elsewhere then takes this process for gone, and removes the file that it writes to.
    """
    file = tmp_path / "a.db"
    with opened(file).begin() as ours:
        ours.execute(insert(ROWS).values(id=1))
    opened(file)  # as another room does with its tables
    other = (
        "import sqlite3, sys; c = sqlite3.connect(sys.argv[1]); c.execute('SELECT * FROM rows').fetchall(); c.close()"
    )
    subprocess.run([sys.executable, "-c", other, str(file)], check=True)
    assert (tmp_path / "a.db-wal").exists()


@pytest.mark.parametrize("address", ["postgresql+pg8000://db.example.org/x", "nonsense://db.example.org/x"])
def test_a_database_without_a_driver_is_refused_with_what_to_install(address):
    with pytest.raises(ConfigError, match=r"(?s)no database can be reached by '.*airloom\[postgres\]"):
        database.engine.__wrapped__(address, METADATA)
