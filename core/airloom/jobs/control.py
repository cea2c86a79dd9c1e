"""Look at jobs and devices, stop and cancel them."""

import time
from dataclasses import dataclass
from typing import Any

from airloom.contracts import Record
from airloom.errors import JobError
from airloom.files import is_new
from airloom.jobs import devices, processes
from airloom.jobs.launch import STOP_GRACE
from airloom.jobs.states import QUEUED, Attempt
from airloom.jobs.submit import end, host, settle
from airloom.jobs.table import Attempts
from airloom.settings import Settings


@dataclass(frozen=True)
class JobStatus:
    """An attempt, and its place in the queue for devices.

    Attributes:
        attempt: as it really is.
        position: from 1; 0 where it has just left the queue, None where it waits for no devices.
    """

    attempt: Attempt
    position: int | None = None

    def to_dict(self) -> dict[str, Any]:
        """All in one mapping, as `--json` prints it."""
        return self.attempt.to_dict() | ({} if self.position is None else {"position": self.position})


@dataclass(frozen=True)
class DeviceUse(Record):
    """A device of this machine.

    Attributes:
        device: its name.
        key: of the job that holds it; empty where it is free.
        attempt: number of the attempt.
    """

    device: str
    key: str = ""
    attempt: int = 0


def list_jobs(settings: Settings, *, everything: bool = False) -> list[JobStatus]:
    """The newest attempt of each key, newest first; without `everything` of the last thousand attempts only."""
    if is_new(settings.database_address):
        return []
    table = _table(settings)
    newest: dict[str, Attempt] = {}
    for attempt in table.recent(10**9 if everything else 1000):
        newest.setdefault(attempt.key, attempt)
    return [describe(table, settle(table, attempt) or attempt) for attempt in newest.values()]


def show(settings: Settings, key: str) -> list[JobStatus]:
    """All attempts of a key, oldest first.

    Raises:
        JobError: there is no such key.
    """
    if is_new(settings.database_address):
        raise _unknown(key)
    table = _table(settings)
    return [describe(table, settle(table, attempt) or attempt) for attempt in _of(table, settings.kept(key))]


def describe(table: Attempts, attempt: Attempt) -> JobStatus:
    """An attempt with its place in the queue, where it waits for devices."""
    if attempt.state != QUEUED or not attempt.wanted:
        return JobStatus(attempt)
    queue = [queued.id for queued in table.alive() if queued.state == QUEUED and queued.wanted]
    return JobStatus(attempt, queue.index(attempt.id) + 1 if attempt.id in queue else 0)


def cancel(settings: Settings, key: str, reason: str) -> Attempt:
    """End a living job for good.

    Raises:
        JobError: there is no such key, or nothing of it lives.
    """
    if is_new(settings.database_address):
        raise _unknown(key)
    table = _table(settings)
    newest = settle(table, _of(table, settings.kept(key))[-1])
    if newest is None or not newest.alive:
        state = newest.state if newest else "gone"
        raise JobError(f"{key} is {state} already", "`airloom jobs list` shows what lives")
    return end(table, newest, reason)


def stop_all(settings: Settings, reason: str) -> int:
    """Have every living job of this machine save a checkpoint and end, to go on later; returns how many there were."""
    if is_new(settings.database_address):
        return 0
    table = _table(settings)
    living = _here(settings, table)
    for attempt in living:
        table.change(attempt.id, stop=reason)
    until = time.monotonic() + STOP_GRACE + 10
    while left := _here(settings, table):
        if time.monotonic() > until:  # their supervisors do not answer
            for attempt in left:
                processes.end_attempt(attempt.path)
                settle(table, attempt)
            break
        time.sleep(0.1)
    return len(living)


def list_devices(settings: Settings) -> list[DeviceUse]:
    """This machine's devices, with who holds each."""
    uses = []
    for name in devices.discover(settings.devices):
        held = devices.holder(settings.home, name)
        uses.append(DeviceUse(name, held.key, held.number) if held else DeviceUse(name))
    return uses


def _here(settings: Settings, table: Attempts) -> list[Attempt]:
    """What lives on this machine, of this state folder: others may share the table."""
    own = [a for a in table.alive() if a.host == host() and a.path.is_relative_to(settings.home)]
    return [attempt for attempt in own if (settle(table, attempt) or attempt).alive]


def _table(settings: Settings) -> Attempts:
    settings.make_home()
    return Attempts(settings.database_address)


def _of(table: Attempts, key: str) -> list[Attempt]:
    attempts = table.of(key)
    if not attempts:
        raise _unknown(key)
    return attempts


def _unknown(key: str) -> JobError:
    return JobError(f"there is no job {key[:200]!r}", "`airloom jobs list`")
