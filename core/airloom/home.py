"""The state folder: recognised, kept from others, and made, before anything is written to it."""

import json
import os
import stat
from contextlib import suppress
from pathlib import Path

from airloom import __version__, schema
from airloom.errors import ConfigError, CorruptFile
from airloom.files import read_json, write_private

OTHERS = stat.S_IRWXG | stat.S_IRWXO  # permissions of anybody but the owner
IGNORE, USER = ".gitignore", "user"
# What stands in a state folder. One of them tells it from somebody's folder, whose permissions are not ours to change.
MARKS = (
    *(schema.FILE, "stack.json", "airloom.db", "optuna.db", "data", "mlflow", "airflow", "jobs", "run", "user"),
    *("logs", "snapshots", "studies", "quarantine", "announced", "predictions", "devices", "cache", "reports"),
    "keys",
)
SIGNATURES = "signatures"  # in the record: since when an unsigned model version is refused


def make(home: Path) -> Path:
    """The state folder, made where it is not there yet; only its owner may enter it, and git ignores it.

    Raises:
        ConfigError: it is somebody else's, or a folder of other things that others may read.
        StateError: another release wrote it.
    """
    if not home.is_dir():
        home.mkdir(parents=True, exist_ok=True, mode=0o700)
    check(home)
    _keep_from_others(home)
    if (home / USER).is_dir():
        private_folder(home / USER)
    if not (home / IGNORE).exists():
        with suppress(OSError):  # a full disk is no reason to stop what may make room
            write_private(home / IGNORE, "*\n")
    if not (home / schema.FILE).exists() and not any((home / name).exists() for name in MARKS):
        record(home)
    return home


def private_folder(folder: Path) -> Path:
    """A folder in it for its owner only, also where some library has made it for everybody."""
    folder.mkdir(exist_ok=True, mode=0o700)
    if folder.stat().st_mode & OTHERS:
        folder.chmod(0o700)
    return folder


def version(home: Path) -> tuple[int, str]:
    """The version of a state folder, and the release that made or migrated it.

    Raises:
        CorruptFile: its record is damaged.
    """
    path, hint = home / schema.FILE, "remove it where no newer release has worked with this folder"
    values = read_json(path, hint)
    if values is None:
        return schema.FIRST, ""
    if not isinstance(number := values.get("schema"), int):
        raise CorruptFile(f"{path} is damaged: it holds no number of a schema", hint)
    return number, str(values.get("airloom", ""))


def record(home: Path) -> None:
    """Write down that the folder is of this release's version."""
    _write(home, {"schema": schema.VERSION, "airloom": __version__, SIGNATURES: True})


def demands_signatures(home: Path) -> bool:
    """Whether each model version must be signed; of an earlier release's folder not before it is migrated."""
    return bool((read_json(home / schema.FILE, "") or {}).get(SIGNATURES))


def demand_signatures(home: Path) -> None:
    """From now on refuse each model version that is not signed."""
    number, release = version(home)
    _write(home, {"schema": number, "airloom": release or __version__, SIGNATURES: True})


def _write(home: Path, record: dict[str, object]) -> None:
    write_private(home / schema.FILE, f"{json.dumps(record)}\n")


def check(home: Path) -> None:
    """Refuse a state folder of another release.

    Raises:
        StateError: it is newer, or must be migrated.
    """
    schema.check(f"the state folder {home}", *version(home))


def _keep_from_others(home: Path) -> None:
    status = home.stat()
    if not status.st_mode & OTHERS:
        return
    hint = "give AIRLOOM_HOME a folder of its own, that need not be there yet"
    if status.st_uid != os.geteuid():
        raise ConfigError(f"the state folder {home} belongs to another user, and others may enter it", hint)
    names = {entry.name for entry in home.iterdir()}
    if status.st_mode & stat.S_ISVTX or (names - {IGNORE} and not names & set(MARKS)):
        raise ConfigError(f"{home} is no state folder: it holds other things, and others may enter it", hint)
    home.chmod(0o700)
