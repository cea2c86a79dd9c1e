"""The files of a job: one folder for the key, one below it for each attempt, one that survives attempts."""

import fcntl
import hashlib
import json
import os
import re
import shutil
from pathlib import Path
from typing import Any

from airloom.files import read_json, write_private

LAUNCH, RESULT, LOG, LOCK, WORK, STATE = "launch.json", "result.json", "log.txt", "lock", "work", "state"


def key_folder(home: Path, key: str) -> Path:
    """`home/jobs/<name>`; whatever the key holds, the name is one harmless path part and unique to the key."""
    readable = re.sub(r"[^A-Za-z0-9_-]+", "-", key).strip("-")[:80]
    return home / "jobs" / f"{readable}-{hashlib.sha256(key.encode()).hexdigest()[:12]}"


def make_attempt(home: Path, key: str, number: int) -> Path:
    """The folder of an attempt, readable by its owner only."""
    folder = key_folder(home, key) / str(number)
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    return folder


def clear_attempt(folder: Path) -> None:
    """Make room for an attempt, whose lock the caller holds: a table that was lost counts its numbers anew."""
    for path in folder.iterdir():
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        elif path.name != LOCK:
            path.unlink()
    (folder / WORK).mkdir(mode=0o700)


def state_folder(folder: Path, first: int) -> Path:
    """What survives attempts, from the attempt numbered `first` on: checkpoints and the journal.

    Earlier states of the key are forgotten, and its own where this attempt is the first.
    """
    state = folder.parent / f"{STATE}-{first}"
    for path in folder.parent.glob(f"{STATE}-*"):
        if path != state or folder.name == str(first):
            shutil.rmtree(path, ignore_errors=True)
    state.mkdir(exist_ok=True, mode=0o700)
    return state


def try_lock(folder: Path) -> int | None:
    """Lock an attempt, unless a living process has it.

    Returns:
        A descriptor. The lock belongs to the open file, so every process that inherits the descriptor holds it
        until it ends, however it ends. None where it is held.
    """
    descriptor = os.open(folder / LOCK, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        return None
    return descriptor


def is_locked(folder: Path) -> bool:
    """Whether a process of the attempt lives."""
    if not (folder / LOCK).exists():  # its folder may have been collected
        return False
    descriptor = try_lock(folder)
    if descriptor is None:
        return True
    os.close(descriptor)
    return False


def read(path: Path, hint: str = "submit the job again: clear its task, or retry it") -> dict[str, Any] | None:
    """A JSON file's mapping, None while it does not exist.

    Raises:
        CorruptFile: it holds something else; `hint` says what to do then.
    """
    return read_json(path, hint)


def write(path: Path, values: dict[str, Any]) -> None:
    """Write at once or not at all, readable by the owner only."""
    write_private(path, json.dumps(values))


class Follower:
    """Reads a growing log by whole lines; one that was cut short is read on from its start.

    Args:
        path: of the log.
        begin: the byte to begin at, which an earlier follower left as its `position`.
    """

    def __init__(self, path: Path, begin: int = 0) -> None:
        self._path = path
        self._offset = begin
        self._rest = b""

    @property
    def position(self) -> int:
        """The byte behind the last line that was read."""
        return self._offset - len(self._rest)

    def lines(self, last: bool = False) -> list[str]:
        """The lines since the last call; with `last` also an unfinished one."""
        try:
            with self._path.open("rb") as file:
                if file.seek(0, os.SEEK_END) < self._offset:
                    self._offset = 0
                file.seek(self._offset)
                new = file.read()
        except FileNotFoundError:
            return []
        self._offset += len(new)
        *whole, self._rest = (self._rest + new).split(b"\n")
        if last and self._rest:
            whole, self._rest = [*whole, self._rest], b""
        return [line.decode("utf-8", "replace") for line in whole]
