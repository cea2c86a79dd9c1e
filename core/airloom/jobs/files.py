"""The files of a job: one folder for the key, one below it for each attempt."""

import fcntl
import hashlib
import json
import os
import re
from pathlib import Path
from typing import Any

from airloom.settings import write_private

SPEC, RESULT, LOG, PROCESS = "spec.json", "result.json", "log.txt", "process.json"


def key_folder(home: Path, key: str) -> Path:
    """`home/jobs/<name>`; whatever the key holds, the name is one harmless path part and unique to the key."""
    readable = re.sub(r"[^A-Za-z0-9_-]+", "-", key).strip("-")[:80]
    return home / "jobs" / f"{readable}-{hashlib.sha256(key.encode()).hexdigest()[:12]}"


def try_lock(folder: Path) -> int | None:
    """Lock the key, unless a living process has it.

    Returns:
        A descriptor. The lock belongs to the open file, so a child that inherits the descriptor holds it until
        it ends, however it ends. None when it is held.
    """
    descriptor = os.open(folder / "lock", os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        return None
    return descriptor


def read(path: Path) -> dict[str, Any] | None:
    """A JSON file's mapping, None while it does not exist."""
    try:
        return dict(json.loads(path.read_text(encoding="utf-8")))
    except FileNotFoundError:
        return None


def write(path: Path, values: dict[str, Any]) -> None:
    """Write at once or not at all, readable by the owner only."""
    write_private(path, json.dumps(values))


class Follower:
    """Reads a growing log by whole lines."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._offset = 0
        self._rest = b""

    def lines(self, last: bool = False) -> list[str]:
        """The lines since the last call; with `last` also an unfinished one."""
        try:
            with self._path.open("rb") as file:
                file.seek(self._offset)
                new = file.read()
        except FileNotFoundError:
            return []
        self._offset += len(new)
        *whole, self._rest = (self._rest + new).split(b"\n")
        if last and self._rest:
            whole, self._rest = [*whole, self._rest], b""
        return [line.decode("utf-8", "replace") for line in whole]
