"""MLflow's own SQLite store: made whole before anybody sees it, and of which revision it is.

Two processes that make MLflow's tables in one file at once end each other's migrations with a traceback.
"""

import os
import sqlite3
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from airloom.errors import StateError
from airloom.files import check_sqlite, sqlite_file


@dataclass(frozen=True)
class Revision:
    """Of MLflow's tables.

    Attributes:
        found: in the file; empty where there is none yet.
        needed: by the installed MLflow.
        known: whether the installed MLflow knows the one that was found.
    """

    found: str
    needed: str
    known: bool


def ensure(address: str, artifacts: str) -> None:
    """Make the store where it is not there yet: under a lock, in a file that gets its name when it is whole.

    Args:
        address: `sqlite:///…`.
        artifacts: address below which MLflow's default experiment has its artifacts.

    Raises:
        CorruptFile: the file is no database.
    """
    check_sqlite(address)
    file = sqlite_file(address)
    if _made(file):
        return
    from filelock import FileLock

    file.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    with FileLock(str(file.with_name("create.lock"))):
        if _made(file):
            return
        temporary = file.with_name(f".{file.name}.{os.getpid()}")
        try:
            _make(temporary, artifacts)
            temporary.replace(file)
        finally:
            temporary.unlink(missing_ok=True)


def _made(file: Path) -> bool:
    return file.is_file() and file.stat().st_size > 0


def _make(file: Path, artifacts: str) -> None:
    from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore

    store = SqlAlchemyStore(f"sqlite:///{file}", artifacts)
    store.engine.dispose()


def revision(address: str) -> Revision:
    """Of which revision the tables are, and which one the installed MLflow needs."""
    from mlflow.store import db_migrations
    from mlflow.store.db.utils import _get_latest_schema_revision

    file, found = sqlite_file(address), ""
    if _made(file):
        connection = sqlite3.connect(f"file:{file}?mode=ro", uri=True)
        try:
            found = str((connection.execute("SELECT version_num FROM alembic_version").fetchone() or [""])[0])
        except sqlite3.OperationalError:  # no such table
            found = "none"
        finally:
            connection.close()
    steps = Path(str(db_migrations.__file__)).parent / "versions"
    return Revision(found, _get_latest_schema_revision(), any(steps.glob(f"{found}_*.py")))


def check(address: str) -> None:
    """Refuse tables of another MLflow.

    Raises:
        StateError: they are newer, or must be migrated.
    """
    tables = revision(address)
    if tables.found in ("", tables.needed):
        return
    message = f"{sqlite_file(address)} is of MLflow's revision {tables.found}, the installed one needs {tables.needed}"
    if tables.known or tables.found == "none":
        raise StateError(message, "`airloom db migrate` makes a backup and migrates it, as `airloom up` does")
    raise StateError(f"{message}: a newer MLflow wrote it", "install that MLflow; the only way back is a backup")


def upgrade(address: str) -> None:
    """Migrate the tables with MLflow's own command.

    Raises:
        StateError: it failed.
    """
    command = [sys.executable, "-m", "mlflow", "db", "upgrade", address]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        last = (done.stderr.strip().splitlines() or ["no message"])[-1][:300]
        raise StateError(f"`mlflow db upgrade {address}` failed: {last}", "put the backup back, and try again")


if __name__ == "__main__":
    ensure(*sys.argv[1:])
