"""`airloom db`: of which version each store of a state folder is, and the one way to this release's."""

import contextlib
import os
import sqlite3
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from airloom import database, home, schema
from airloom.contracts import Record
from airloom.errors import MlflowAway, StackError, StateError
from airloom.files import check_sqlite, sqlite_file
from airloom.registry import vouch
from airloom.settings import Settings
from airloom.tracking import store as mlflow_store

if TYPE_CHECKING:
    from sqlalchemy import Engine

LogLine = Callable[[str], None]
CURRENT, NEW, OLD, NEWER = "current", "not there yet", "must be migrated", "of a newer release"
BACKUPS = "backups"


@dataclass(frozen=True)
class Store(Record):
    """One store of the state.

    Attributes:
        name: `state folder`, `tables`, `MLflow`, `Optuna` or `signatures` (of model versions, where some have none).
        place: where it is; without a password.
        found: its version.
        needed: by this release.
        state: CURRENT, NEW, OLD or NEWER.
        by: the release that wrote it, where it says so.
    """

    name: str
    place: str
    found: str
    needed: str
    state: str
    by: str = ""


def check(settings: Settings) -> list[Store]:
    """Every store with its version; nothing is written.

    Raises:
        CorruptFile: one is damaged.
    """
    if not settings.home.is_dir():
        return []
    stores = check_own(settings)
    if _own_mlflow(settings):
        revision = mlflow_store.revision(_mlflow(settings))
        ours = NEW if not revision.found else CURRENT if revision.found == revision.needed else OLD
        state = NEWER if ours == OLD and not (revision.known or revision.found == "none") else ours
        place = str(sqlite_file(_mlflow(settings)))
        stores.append(Store("MLflow", place, revision.found, revision.needed, state))
    if _has_studies(settings):
        stores.append(_studies(settings))
    return [*stores, *_signatures(settings)]


def check_own(settings: Settings) -> list[Store]:
    """The state folder and the tables of our own, also where the folder is not there yet; no server is asked.

    Raises:
        CorruptFile: one is damaged.
    """
    return [_folder(settings), _tables(settings)]


def migrate(settings: Settings, log_line: LogLine, *, backed_up: bool = False) -> list[Store]:
    """Bring every store to this release's version: SQLite after a copy into `home/backups`.

    Args:
        settings: of this installation.
        log_line: gets a line for each backup and step.
        backed_up: there is a backup of a database that is no file, which only its owner can make.

    Returns:
        What was migrated.

    Raises:
        StateError: a store is of a newer release (nothing is migrated then), or is no file and has no backup.
        StackError: another migration is under way.
    """
    if not _old(settings):
        if settings.home.is_dir():
            vouch.sign_existing(settings)  # nothing is left to be signed: from now on each version is
        return []
    with _alone(settings):
        old = _old(settings)
        _back_up(settings, old, log_line, backed_up=backed_up)
        for store in old:
            if store.name == "tables":
                _migrate_tables(settings, log_line)
            elif store.name == "MLflow":
                mlflow_store.upgrade(_mlflow(settings))
            elif store.name == "Optuna":
                _study_storage(settings).upgrade()
            if store.name != "signatures":
                log_line(f"{store.name} migrated from {store.found} to {store.needed}")
        for line in vouch.sign_existing(settings):  # after MLflow's tables
            log_line(line)
        if any(store.name == "state folder" for store in old):  # last: until then it is refused
            home.record(settings.home)
        return old


def _old(settings: Settings) -> list[Store]:
    """What must be migrated.

    Raises:
        StateError: a store is of a newer release.
    """
    stores = check(settings)
    for store in stores:
        if store.state == NEWER:
            by = f" (Airloom {store.by})" if store.by else ""
            message = f"{store.name} in {store.place} is of version {store.found}{by}, this knows {store.needed}"
            raise StateError(message, "install that release or a newer one; the only way back is a backup")
    return [store for store in stores if store.state == OLD]


def render(stores: list[Store]) -> str:
    """A line for each store."""
    return "\n".join(f"{s.name:13} {s.found or '-':13} {s.state:18} {s.place}" for s in stores) or "no state yet"


def _folder(settings: Settings) -> Store:
    found, by = home.version(settings.home)
    return Store("state folder", str(settings.home), str(found), str(schema.VERSION), _state(found), by)


def _tables(settings: Settings) -> Store:
    address = settings.database_address
    place, needed = database.named(address), str(schema.VERSION)
    if address.startswith("sqlite:"):
        check_sqlite(address)
        if not sqlite_file(address).exists():
            return Store("tables", place, "", needed, NEW)
    with _engine(address) as engine, database.undamaged(address), engine.connect() as connection:
        found = database.schema_of(connection)
    if found is None:
        return Store("tables", place, "", needed, NEW)
    return Store("tables", place, str(found[0]), needed, _state(found[0]), found[1])


def _signatures(settings: Settings) -> list[Store]:
    try:
        count = vouch.count_unsigned(settings)
    except MlflowAway:  # until it is back each of them is refused
        return []
    place = settings.tracking_uri or str(sqlite_file(settings.mlflow_tables))
    return [Store("signatures", place, f"{count} without", "signed", OLD)] if count else []


def _state(version: int) -> str:
    return NEWER if version > schema.VERSION else OLD if version < schema.VERSION else CURRENT


@contextlib.contextmanager
def _engine(address: str) -> "Iterator[Engine]":
    """An engine that looks at no schema."""
    from sqlalchemy import create_engine

    engine = create_engine(address, **database.options(address))
    try:
        yield engine
    finally:
        engine.dispose()


def _migrate_tables(settings: Settings, log_line: LogLine) -> None:
    """All steps in one transaction: a kill leaves the version before."""
    with _engine(settings.database_address) as engine, engine.connect() as connection:
        if engine.dialect.name == "sqlite":  # Python's driver begins none before a change of the schema
            connection.exec_driver_sql("BEGIN IMMEDIATE")
        found, _ = database.schema_of(connection) or (schema.VERSION, "")
        for step in schema.steps_from(found):
            log_line(f"schema {step.to}: {step.what}")
            step.database(connection)
        database.record_schema(connection)
        connection.commit()


def _back_up(settings: Settings, stores: list[Store], log_line: LogLine, *, backed_up: bool) -> None:
    for store in stores:
        file = Path(store.place)
        if store.name in ("state folder", "signatures"):  # a tag more takes nothing away
            continue
        if not file.is_file():
            if not backed_up:
                message = f"{store.name} in {store.place} must be migrated from {store.found} to {store.needed}"
                raise StateError(message, "back that database up, then `airloom db migrate --backed-up`")
            continue
        folder = settings.home / BACKUPS
        folder.mkdir(exist_ok=True, mode=0o700)
        target = folder / f"{file.stem}-{store.found}-{time.strftime('%Y%m%dT%H%M%S')}.db"
        copy_database(file, target)
        log_line(f"backup of {store.name}: {target}")


def copy_database(file: Path, target: Path) -> None:
    """A whole copy of a SQLite database, also while others write to it; at once or not at all."""
    temporary = target.with_name(f".{target.name}.{os.getpid()}")
    os.close(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600))
    source, copy = sqlite3.connect(file), sqlite3.connect(temporary)
    try:
        source.backup(copy)
        copy.close()
        temporary.replace(target)
    finally:
        source.close()
        copy.close()
        temporary.unlink(missing_ok=True)


@contextlib.contextmanager
def _alone(settings: Settings) -> Iterator[None]:
    from filelock import FileLock, Timeout

    lock = settings.home / "run" / "migrate.lock"
    lock.parent.mkdir(exist_ok=True, mode=0o700)
    try:
        with FileLock(str(lock), timeout=0):
            yield
    except Timeout:
        raise StackError(f"another migration of {settings.home} is under way", "wait until it ended") from None


def _mlflow(settings: Settings) -> str:
    return f"sqlite:///{settings.home / 'mlflow' / 'mlflow.db'}"


def _own_mlflow(settings: Settings) -> bool:
    """Whether MLflow's tables are this home's own; others are migrated by who owns them."""
    check_sqlite(_mlflow(settings))
    return not settings.tracking_uri and not settings.mlflow_store and sqlite_file(_mlflow(settings)).exists()


def _has_studies(settings: Settings) -> bool:
    address = settings.study_address
    check_sqlite(address)
    return address.startswith("sqlite:") and sqlite_file(address).exists() and sqlite_file(address).stat().st_size > 0


def _study_storage(settings: Settings):  # type: ignore[no-untyped-def] # Optuna's, which is imported here only
    from optuna.storages import RDBStorage

    address = settings.study_address
    return RDBStorage(
        address, engine_kwargs=database.options(address), skip_compatibility_check=True, skip_table_creation=True
    )


def _studies(settings: Settings) -> Store:
    storage = _study_storage(settings)
    found, needed = str(storage.get_current_version()), str(storage.get_head_version())
    known = found in map(str, storage.get_all_versions())
    storage.engine.dispose()
    state = CURRENT if found == needed else OLD if known else NEWER
    return Store("Optuna", str(sqlite_file(settings.study_address)), found, needed, state)
