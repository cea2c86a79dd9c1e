"""One migration of all stores: what is older is backed up and migrated, what is newer is refused before any of it."""

import sqlite3
from pathlib import Path

import pytest
from sqlalchemy import text

from airloom import database, home, schema
from airloom.errors import StateError
from airloom.jobs.states import SUCCEEDED
from airloom.jobs.table import Attempts, metadata
from airloom.settings import Settings
from airloom.stack import migration
from airloom.tracking import store as mlflow_store


def note(connection) -> None:
    connection.execute(text("ALTER TABLE job_attempts ADD COLUMN note TEXT NOT NULL DEFAULT 'none'"))


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    """A home of the present release with a job in it; no record of a version, as that of the releases before."""
    settings = Settings(home=tmp_path / "home", project=tmp_path, tracking_uri="")
    row = {"key": "k", "number": 1, "folder": "f", "name": "n", "task": {}, "state": SUCCEEDED}
    settings.make_home()
    Attempts(settings.database_address).add(row)
    (settings.home / "schema.json").unlink()
    run(settings.home / "airloom.db", "DROP TABLE airloom_schema")
    return settings


@pytest.fixture
def release_2(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:  # the home is of the release before
    monkeypatch.setattr(schema, "VERSION", 2)
    monkeypatch.setattr(schema, "STEPS", (schema.Step(2, "attempts have a note", note),))


def run(file: Path, statement: str) -> list[tuple]:
    connection = sqlite3.connect(file)
    try:
        with connection:
            return connection.execute(statement).fetchall()
    finally:
        connection.close()


def states(settings: Settings) -> dict[str, str]:
    return {store.name: store.state for store in migration.check(settings)}


def test_a_home_of_this_release_needs_nothing(settings: Settings) -> None:
    assert states(settings) == {"state folder": migration.CURRENT, "tables": migration.CURRENT}
    assert migration.migrate(settings, print) == []
    assert not (settings.home / "backups").exists()


def test_no_home_is_no_state(tmp_path: Path) -> None:
    assert migration.check(Settings(home=tmp_path / "none")) == []
    assert not (tmp_path / "none").exists()


@pytest.mark.usefixtures("release_2")
def test_an_older_one_is_refused_until_it_is_migrated_after_a_backup(settings: Settings) -> None:
    assert states(settings) == {"state folder": migration.OLD, "tables": migration.OLD}
    with pytest.raises(StateError, match=r"airloom\.db is of schema 1"):
        database.engine.__wrapped__(settings.database_address, metadata)
    lines: list[str] = []
    migrated = migration.migrate(settings, lines.append)
    assert [store.name for store in migrated] == ["state folder", "tables"]
    assert any("attempts have a note" in line for line in lines)
    assert run(settings.home / "airloom.db", "SELECT key, note FROM job_attempts") == [("k", "none")]
    assert run(settings.home / "airloom.db", "SELECT version FROM airloom_schema") == [(2,)]
    assert home.version(settings.home)[0] == 2
    (backup,) = (settings.home / "backups").iterdir()
    assert backup.stat().st_mode & 0o077 == 0
    assert run(backup, "SELECT key FROM job_attempts") == [("k",)]
    assert "note" not in {row[1] for row in run(backup, "PRAGMA table_info(job_attempts)")}
    assert migration.migrate(settings, print) == []


def test_a_step_that_fails_leaves_the_version_before(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    def half(connection) -> None:
        note(connection)
        raise RuntimeError("in the middle")

    monkeypatch.setattr(schema, "VERSION", 2)
    monkeypatch.setattr(schema, "STEPS", (schema.Step(2, "half", half),))
    with pytest.raises(RuntimeError):
        migration.migrate(settings, print)
    assert states(settings)["tables"] == migration.OLD
    assert "note" not in {row[1] for row in run(settings.home / "airloom.db", "PRAGMA table_info(job_attempts)")}
    monkeypatch.setattr(schema, "STEPS", (schema.Step(2, "attempts have a note", note),))
    assert migration.migrate(settings, print)


@pytest.mark.usefixtures("release_2")
def test_where_one_store_is_newer_nothing_is_migrated(settings: Settings) -> None:
    (settings.home / "schema.json").write_text('{"schema": 9, "airloom": "3.1"}')
    before = (settings.home / "airloom.db").read_bytes()
    with pytest.raises(StateError, match=r"version 9 \(Airloom 3\.1\), this knows 2"):
        migration.migrate(settings, print)
    assert (settings.home / "airloom.db").read_bytes() == before
    assert not (settings.home / "run").exists()


def test_tables_of_mlflow_are_migrated_by_mlflow_after_a_backup(
    settings: Settings, migrated: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = settings.home / "mlflow" / "mlflow.db"
    file.parent.mkdir()
    file.write_bytes(migrated.read_bytes())
    assert states(settings)["MLflow"] == migration.CURRENT
    run(file, "UPDATE alembic_version SET version_num = '451aebb31d03'")  # of MLflow 1
    assert states(settings)["MLflow"] == migration.OLD
    asked: list[str] = []
    monkeypatch.setattr(mlflow_store, "upgrade", asked.append)
    assert [store.name for store in migration.migrate(settings, print)] == ["MLflow"]
    assert asked == [f"sqlite:///{file}"]
    (backup,) = (settings.home / "backups").glob("mlflow-451aebb31d03-*.db")
    assert run(backup, "SELECT version_num FROM alembic_version") == [("451aebb31d03",)]


def test_tables_of_a_newer_mlflow_are_refused(settings: Settings, migrated: Path) -> None:
    file = settings.home / "mlflow" / "mlflow.db"
    file.parent.mkdir()
    file.write_bytes(migrated.read_bytes())
    run(file, "UPDATE alembic_version SET version_num = 'ffffffffffff'")
    assert states(settings)["MLflow"] == migration.NEWER
    with pytest.raises(StateError, match="a newer MLflow wrote it"):
        mlflow_store.check(f"sqlite:///{file}")
    with pytest.raises(StateError, match=r"MLflow in .* is of version ffffffffffff"):
        migration.migrate(settings, print)


@pytest.mark.usefixtures("release_2")
def test_a_database_that_is_no_file_is_migrated_only_with_a_backup_of_its_owners(settings: Settings) -> None:
    place = migration.Store("tables", "postgresql://a:***@b/c", "1", "2", migration.OLD)
    with pytest.raises(StateError, match="must be migrated from 1 to 2") as caught:
        migration._back_up(settings, [place], print, backed_up=False)
    assert "--backed-up" in caught.value.hint
    migration._back_up(settings, [place], print, backed_up=True)
