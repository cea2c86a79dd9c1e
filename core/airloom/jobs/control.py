"""Look at jobs and devices, stop and cancel them."""

import time
from typing import Any

from airloom.errors import JobError
from airloom.jobs import devices, processes
from airloom.jobs.launch import STOP_GRACE
from airloom.jobs.states import QUEUED, Attempt
from airloom.jobs.submit import end, host, settle
from airloom.jobs.table import Attempts
from airloom.settings import Settings


def list_jobs(settings: Settings, *, everything: bool = False) -> list[dict[str, Any]]:
    """The newest attempt of each key, newest first; without `everything` of the last thousand attempts only."""
    table = _table(settings)
    newest: dict[str, Attempt] = {}
    for attempt in table.recent(10**9 if everything else 1000):
        newest.setdefault(attempt.key, attempt)
    return [describe(table, settle(table, attempt) or attempt) for attempt in newest.values()]


def show(settings: Settings, key: str) -> list[dict[str, Any]]:
    """All attempts of a key, oldest first.

    Raises:
        JobError: there is no such key.
    """
    table = _table(settings)
    return [describe(table, settle(table, attempt) or attempt) for attempt in _of(table, key)]


def describe(table: Attempts, attempt: Attempt) -> dict[str, Any]:
    """An attempt for people and programs, with its place in the queue where it waits for devices."""
    values = attempt.to_dict()
    if attempt.state == QUEUED and attempt.wanted:
        waiting = [other.id for other in table.alive() if other.state == QUEUED and other.wanted]
        values["position"] = waiting.index(attempt.id) + 1 if attempt.id in waiting else 0
    return values


def cancel(settings: Settings, key: str, reason: str) -> Attempt:
    """End a living job for good.

    Raises:
        JobError: there is no such key, or nothing of it lives.
    """
    table = _table(settings)
    newest = settle(table, _of(table, key)[-1])
    if newest is None or not newest.alive:
        state = newest.state if newest else "gone"
        raise JobError(f"{key} is {state} already", "`airloom jobs list` shows what lives")
    return end(table, newest, reason)


def stop_all(settings: Settings, reason: str) -> int:
    """Have every living job of this machine save a checkpoint and end, to go on later; returns how many there were."""
    if settings.database_address.startswith("sqlite:") and not (settings.home / "airloom.db").exists():
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


def list_devices(settings: Settings) -> list[dict[str, Any]]:
    """This machine's devices with who holds each: `device`, and `key` and `attempt` where it is held."""
    found = []
    for name in devices.discover(settings.devices):
        held = devices.holder(settings.home, name)
        found.append({"device": name, "key": held["key"] if held else "", "attempt": held["number"] if held else 0})
    return found


def _here(settings: Settings, table: Attempts) -> list[Attempt]:
    """What lives on this machine, of this state folder: others may share the table."""
    mine = [a for a in table.alive() if a.host == host() and a.path.is_relative_to(settings.home)]
    return [attempt for attempt in mine if (settle(table, attempt) or attempt).alive]


def _table(settings: Settings) -> Attempts:
    settings.make_home()
    return Attempts(settings.database_address)


def _of(table: Attempts, key: str) -> list[Attempt]:
    found = table.of(key)
    if not found:
        raise JobError(f"there is no job {key[:200]!r}", "`airloom jobs list`")
    return found
