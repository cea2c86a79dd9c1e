"""The state folder: recognised, kept from others, and made, before anything is written to it."""

import json
import os
import stat
import uuid
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from airloom import schema
from airloom.errors import ConfigError, CorruptFile
from airloom.files import read_json, write_once, write_private
from airloom.names import check_installation
from airloom.version import __version__

OTHERS = stat.S_IRWXG | stat.S_IRWXO  # permissions of anybody but the owner
IGNORE, USER, INSTALLATION = ".gitignore", "user", "installation.json"
# What stands in a state folder. One of them tells it from somebody's folder, whose permissions are not ours to change.
MARKS = (
    *(schema.FILE, "stack.json", "airloom.db", "optuna.db", "data", "mlflow", "airflow", "jobs", "run", "user"),
    *("logs", "snapshots", "studies", "quarantine", "announced", "predictions", "devices", "cache", "reports"),
    "keys",
)
SIGNATURES = "signatures"  # in the record: since when an unsigned model version is refused


@dataclass(frozen=True)
class Installation:
    """Whose state folder it is.

    Attributes:
        name: chosen at the first start, and never changed; empty for none.
        id: tells two installations of one name apart.
        earlier: the state folder is of a release in which installations had no names.
    """

    name: str
    id: str
    earlier: bool = False


def make(home: Path, namespace: str = "") -> Path:
    """The state folder, made where it is not there yet; only its owner may enter it, and git ignores it.

    Args:
        home: the folder.
        namespace: the name of its installation, which a new one keeps; empty for the one that it has.

    Raises:
        ConfigError: it is somebody else's, or a folder of other things that others may read, or of another name.
        StateError: another release wrote it.
    """
    if not home.is_dir():
        home.mkdir(parents=True, exist_ok=True, mode=0o700)
    check(home)
    if namespace:
        name_of(home, namespace)
    _keep_from_others(home)
    if (home / USER).is_dir():
        private_folder(home / USER)
    if not (home / IGNORE).exists():
        with suppress(OSError):  # a full disk is no reason to stop what may make room
            write_private(home / IGNORE, "*\n")
    if _is_new(home):
        _write_installation(home, Installation(namespace, str(uuid.uuid4())))  # first: who is killed here begins anew
        name_of(home, namespace)  # another first process may have had another name
        record(home)
    return home


def name_of(home: Path, namespace: str = "") -> str:
    """The name of the installation: as it was written; of a folder that is not there yet, what it shall be called.

    Args:
        home: the folder.
        namespace: what it is called; empty for whatever it is.

    Raises:
        ConfigError: it is called otherwise.
        CorruptFile: its record is damaged.
    """
    written = installation(home)
    if written is None and _is_new(home):
        return namespace
    name = written.name if written else ""
    if namespace and namespace != name:
        called = f"is of the installation {name}" if name else "is of an installation without a name"
        hint = "a name never changes: unset AIRLOOM_NAMESPACE, or begin another installation in a new AIRLOOM_HOME"
        raise ConfigError(f"AIRLOOM_NAMESPACE={namespace}, but the state folder {home} {called}", hint)
    return name


def installation(home: Path) -> Installation | None:
    """Whose state folder it is; None where that was not written down yet.

    Raises:
        CorruptFile: the record is damaged.
    """
    path, hint = home / INSTALLATION, 'put a backup there, or write {"name": "…", "id": "…"} with the name it had'
    values = read_json(path, hint)
    if values is None:
        return None
    try:
        name, identity = check_installation(values["name"]), str(uuid.UUID(values["id"]))
    except (KeyError, ValueError, TypeError, AttributeError):
        raise CorruptFile(f"{path} is damaged: it holds no name and id of an installation", hint) from None
    return Installation(name, identity, values.get("earlier") is True)


def identify(home: Path) -> Installation:
    """The same, written down now for a folder that an earlier release made: it has no name."""
    if (written := installation(home)) is None:
        _write_installation(home, Installation("", str(uuid.uuid4()), earlier=True))
        written = installation(home)
    assert written is not None  # noqa: S101 - nobody removes it
    return written


def _write_installation(home: Path, new: Installation) -> None:
    earlier = {"earlier": True} if new.earlier else {}
    write_once(home / INSTALLATION, json.dumps({"name": new.name, "id": new.id} | earlier) + "\n")


def _is_new(home: Path) -> bool:
    return not any((home / name).exists() for name in MARKS)


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
    if status.st_mode & stat.S_ISVTX or (names - {IGNORE} and not names & {*MARKS, INSTALLATION}):
        raise ConfigError(f"{home} is no state folder: it holds other things, and others may enter it", hint)
    home.chmod(0o700)
