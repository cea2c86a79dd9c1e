"""Files: written at once or not at all, readable by their owner only; and their digests."""

import hashlib
import json
import os
import sqlite3
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import quote

from airloom.errors import CorruptFile, DataAway

DAMAGED = ("SQLITE_NOTADB", "SQLITE_CORRUPT")  # what SQLite says of a file
RESTORE = "`airloom down`, and put a backup there, or move it away: it is then made anew, without what it held"


def write_private(path: Path, text: str) -> None:
    """Write a file that only its owner may read, at once or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.{threading.get_ident()}")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "w") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(path)


@contextmanager
def replacing(path: Path, mark: str = "") -> Iterator[Path]:
    """A path to write a file to, which then stands in place of `path`, on the disk and whole; or nothing changes.

    Args:
        path: of the file.
        mark: tells drafts of it apart where several may be written at once; by default process and thread, whose draft
            a kill leaves behind.

    Raises:
        OSError: the disk does not take it.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{mark or f'{os.getpid()}.{threading.get_ident()}'}")
    try:
        yield temporary
        sync(temporary)
        temporary.replace(path)
        sync(path.parent)
    finally:
        temporary.unlink(missing_ok=True)


def sync(path: Path) -> None:
    """Have the disk hold a file, or the names in a folder, before anything says so."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def write_once(path: Path, text: str) -> bool:
    """The same where there is no such file yet; False, and nothing changes, where there is: of two one is first."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.{threading.get_ident()}.new")
    write_private(temporary, text)
    try:
        os.link(temporary, path)
    except FileExistsError:
        return False
    finally:
        temporary.unlink(missing_ok=True)
    return True


def read_json(path: Path, hint: str) -> dict[str, Any] | None:
    """The mapping in a JSON file that Airloom wrote; None where there is none.

    Args:
        path: of the file.
        hint: what to do where it holds something else.

    Raises:
        CorruptFile: it is empty, cannot be read, or holds something else.
    """
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        return None
    except OSError as error:
        raise CorruptFile(f"{path} cannot be read: {error.strerror or error}", hint) from None
    if not data.strip():
        raise CorruptFile(f"{path} is empty", hint)
    try:
        values = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise CorruptFile(f"{path} is damaged: {error}", hint) from None
    if not isinstance(values, dict):
        raise CorruptFile(f"{path} is damaged: it holds a {type(values).__name__}, and no JSON object", hint)
    return values


def check_sqlite(address: str) -> None:
    """Refuse a file that is no database of SQLite, before a library opens it; one that is empty or not there is new.

    SQLite itself looks: who opens and closes its file in another way takes away the locks that this process has on it
    (POSIX), and other processes then remove what it has written.

    Raises:
        CorruptFile: it holds something else, or cannot be read.
    """
    if not address.startswith("sqlite:///") or is_new(address):
        return
    path = sqlite_file(address)
    if not os.access(path, os.R_OK):
        raise CorruptFile(f"{path} cannot be read", "look at its rights")
    connection = sqlite3.connect(f"file:{quote(str(path))}?mode=ro", uri=True, timeout=0)
    try:
        connection.execute("PRAGMA schema_version").fetchone()
    except sqlite3.DatabaseError as error:  # a lock, or a full disk, is the affair of who opens it
        if error.sqlite_errorname in DAMAGED:
            raise CorruptFile(f"{path} is no SQLite database", RESTORE) from None
    finally:
        connection.close()


def sqlite_file(address: str) -> Path:
    """The file of a SQLite address."""
    return Path(address.removeprefix("sqlite:///").partition("?")[0])


def file_sha256(path: Path) -> str:
    """sha256 of a file, hex."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def is_new(address: str) -> bool:
    """Whether an address names a SQLite database in which nothing was written yet: a reader needs not make it."""
    if not address.startswith("sqlite:"):
        return False
    file = sqlite_file(address)
    return not (file.is_file() and file.stat().st_size)


@contextmanager
def writing(place: Path, consequence: str = "nothing is visible") -> Iterator[None]:
    """Name the place where writing fails.

    Raises:
        DataAway: it did.
    """
    try:
        yield
    except (OSError, sqlite3.Error) as error:
        reason = getattr(error, "strerror", None) or error
        raise DataAway(f"{place} cannot be written: {reason}", f"make room; {consequence}") from None
