"""Submit a job under a key: attach to the attempt that lives or has succeeded, or start the next one."""

import contextlib
import os
import socket
import subprocess
import sys
import time
from functools import cache
from pathlib import Path
from typing import Any

from airloom.errors import JobError
from airloom.jobs import files, processes
from airloom.jobs.environment import allowed
from airloom.jobs.spec import PROTOCOL, JobSpec
from airloom.jobs.states import CANCELLED, LAUNCHING, LOST, QUEUED, SUCCEEDED, Attempt
from airloom.jobs.table import Attempts
from airloom.settings import Settings

AWAY = 60.0  # seconds without a heartbeat after which an attempt on another host counts as lost
ENDING = 45.0  # seconds that a cancelled attempt gets to end


@cache
def host() -> str:
    """The name of this machine in the table."""
    return socket.gethostname()


def submit(
    settings: Settings, key: str, spec: JobSpec, *, generation: int = 0, task: dict[str, Any] | None = None
) -> Attempt:
    """The attempt that does the job of this key, started where there is none.

    A living or succeeded attempt of this generation is returned as it is. After FAILED or LOST the next one starts and
    finds what the last one left in its state folder. After CANCELLED, and in a higher generation, it starts with
    nothing; a living attempt of a lower generation is ended first.

    This holds when a submitter dies between any two steps and when two submit at once: the table has one living
    attempt a key, and who starts it holds its lock.

    Raises:
        JobError: a cancelled attempt does not end.
    """
    settings.make_home()
    table = Attempts(settings.database_address)
    while True:
        newest = settle(table, table.newest(key))
        if newest and newest.alive and newest.generation >= generation:
            if newest.state == QUEUED and not newest.token:
                _launch(settings, table, newest, spec)
            return table.get(newest.id)
        if newest and newest.alive:
            end(table, newest, "cleared: a newer run of the task starts it anew")
            continue
        if newest and newest.state == SUCCEEDED and newest.generation >= generation:
            return newest
        number = newest.number + 1 if newest else 1
        folder = files.make_attempt(settings.home, key, number)
        if newest is None or newest.state == CANCELLED or newest.generation < generation:
            files.empty_state(folder)
        row = {"key": key, "number": number, "generation": generation, "folder": str(folder), "name": spec.name}
        row |= {"host": host(), "wanted": spec.resources.devices, "task": task or {}}
        made = table.add(row)
        if made:
            _launch(settings, table, made, spec)
            return table.get(made.id)


def _launch(settings: Settings, table: Attempts, attempt: Attempt, spec: JobSpec) -> None:
    """Start the supervisor, unless another submitter of this very attempt does or did."""
    lock = files.try_lock(attempt.path)
    if lock is None:
        return
    try:
        state = QUEUED if spec.resources.devices else LAUNCHING
        # The claim: only an attempt that nobody ever started has token 0.
        if not table.change(attempt.id, claim=0, states=[QUEUED], state=state, token=1, heartbeat=time.time()):
            return
        values = {"id": attempt.id, "token": 1, "key": attempt.key, "number": attempt.number, "host": host()}
        values |= {"home": str(settings.home), "project": str(settings.project), "spec": spec.to_dict()}
        values |= {"pretended": settings.devices, "confined": settings.confine_jobs, "protocol": PROTOCOL}
        files.write(attempt.path / files.LAUNCH, values)
        variables = allowed(os.environ, spec.environment) | settings.as_environment()
        command = [sys.executable, "-P", "-m", "airloom.jobs.supervise", str(attempt.path), str(lock)]
        with (attempt.path / "supervisor.txt").open("ab") as said:
            subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=said,
                stderr=said,
                cwd=settings.home,
                env=variables,
                start_new_session=True,
                pass_fds=(lock,),
            )
    finally:
        os.close(lock)


def settle(table: Attempts, attempt: Attempt | None) -> Attempt | None:
    """The attempt as it really is: one whose processes are all gone is LOST, whatever the table says.

    On this machine its lock tells, elsewhere its heartbeat. What a killed supervisor left running is ended first, so
    that no two attempts of a key ever work at once.
    """
    if attempt is None or not attempt.alive or not attempt.token:
        return attempt
    if attempt.host != host():
        if time.time() - attempt.heartbeat < AWAY:
            return attempt
        table.change(attempt.id, claim=attempt.token, state=LOST, ended=time.time(), reason=f"{attempt.host} is silent")
        return table.get(attempt.id)
    if files.is_locked(attempt.path) and not _abandoned(attempt):
        return attempt
    processes.end_marked(attempt.id)
    if files.is_locked(attempt.path):
        return attempt
    now = table.get(attempt.id)
    if now.alive:
        _record(table, now)
    return table.get(attempt.id)


def _abandoned(attempt: Attempt) -> bool:
    """Whether the supervisor is gone while something of the job still lives."""
    return bool(attempt.owner) and not _supervises(attempt.owner, attempt.path)


def _supervises(pid: int, folder: Path) -> bool:
    with contextlib.suppress(OSError):
        words = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
        return b"airloom.jobs.supervise" in words and str(folder).encode() in words
    return False


def _record(table: Attempts, attempt: Attempt) -> None:
    """What is left of an attempt that nobody saw end: its result where it wrote one, else it is lost."""
    result = files.read(attempt.path / files.RESULT)
    state, reason = (SUCCEEDED, "") if result and result["ok"] else (LOST, "its processes are gone; nobody saw it end")
    table.change(attempt.id, claim=attempt.token, state=state, ended=time.time(), reason=reason)


def end(table: Attempts, attempt: Attempt, reason: str) -> Attempt:
    """Cancel a living attempt and wait until nothing of it is left.

    Raises:
        JobError: it did not end in time.
    """
    table.change(attempt.id, cancel=reason)
    until = time.monotonic() + ENDING
    while (now := settle(table, table.get(attempt.id))) and now.alive:
        if not now.token:  # it was never started
            table.change(now.id, claim=0, state=CANCELLED, ended=time.time(), reason=reason)
        if time.monotonic() > until:
            raise JobError(f"attempt {now.number} of {now.key} does not end", f"look at {now.folder}")
        time.sleep(0.1)
    return table.get(attempt.id)
