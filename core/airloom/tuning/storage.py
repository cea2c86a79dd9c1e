"""Where studies are kept: Optuna's storage."""

import sqlite3
from typing import TYPE_CHECKING

from airloom import database
from airloom.files import check_sqlite
from airloom.settings import Settings

if TYPE_CHECKING:
    from optuna.storages import RDBStorage


def new_storage(settings: Settings) -> "RDBStorage":
    """Optuna's storage: SQLite in WAL mode in `home`, or PostgreSQL."""
    from optuna.storages import RDBStorage

    address = settings.study_address
    check_sqlite(address)
    if address.startswith("sqlite:") and not (settings.home / "optuna.db").exists():
        with sqlite3.connect(settings.home / "optuna.db") as connection:  # the mode stays in the file
            connection.execute("PRAGMA journal_mode=WAL")
        connection.close()
    # Its tables were looked at when the study was created.
    storage = RDBStorage(address, engine_kwargs=database.options(address))
    database.prepare(storage.engine)
    storage.engine.dispose()  # connections from before `prepare`
    return storage
