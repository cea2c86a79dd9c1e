"""Submit a job under a key: attach to the attempt that lives or has succeeded, or start the next one."""

import os
import socket
import subprocess
import sys
import time
from dataclasses import replace
from functools import cache
from typing import Any

from airloom.errors import ConfigError, JobError
from airloom.jobs import files, processes
from airloom.jobs.environment import OWN, allowed
from airloom.jobs.launch import STOP_GRACE
from airloom.jobs.launch_record import Launch, write_launch
from airloom.jobs.results import read_result
from airloom.jobs.spec import JobSpec
from airloom.jobs.states import CANCELLED, LAUNCHING, LOST, QUEUED, SUCCEEDED, Attempt
from airloom.jobs.table import KEY_LENGTH, Attempts
from airloom.settings import Settings

AWAY = 60.0  # seconds without a heartbeat after which an attempt on another host counts as lost
ENDING = 20.0  # seconds that a supervisor gets to end its job, before both are killed
BUSY = 30.0  # seconds to wait for another submitter that has the next attempt in hand


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

    This holds when a submitter dies between any two steps and when two submit at once: who holds the lock of the next
    attempt may insert it, the table has one living attempt a key, and an attempt whose lock nobody holds is over.

    Args:
        settings: of this installation.
        key: of the job.
        spec: what it does.
        generation: a higher one than before starts it anew.
        task: who waits for it, for people.

    Raises:
        ConfigError: the key cannot be one.
        JobError: a cancelled attempt does not end, or the disk or the table refuses the new one.
    """
    check_key(key)
    if spec.step and not spec.interpreter:
        spec = replace(spec, interpreter=settings.job_python)
    settings.make_home()
    table = Attempts(settings.database_address)
    until = time.monotonic() + BUSY
    while True:
        newest = settle(table, table.newest(key))
        if newest and newest.generation >= generation and (newest.alive or _has_result(newest)):
            return newest
        if newest and newest.alive:
            end(table, newest, "cleared: a newer run of the task starts it anew")
            continue
        try:
            attempt = _begin(settings, table, key, spec, generation, task or {}, newest)
        except OSError as error:
            message = f"job {key} cannot be started: {error}"
            raise JobError(message, f"make room in {settings.home}, or look at its rights") from None
        if attempt:
            return attempt
        if time.monotonic() > until:
            raise JobError(f"another submitter has {key} in hand and does not get on", "end it, and submit again")
        time.sleep(0.02)


def _has_result(attempt: Attempt) -> bool:
    """Whether it succeeded, and its folder was not collected since."""
    return attempt.state == SUCCEEDED and (attempt.host != host() or attempt.path.is_dir())


def check_key(key: str) -> None:
    """Refuse what cannot be a key in every database.

    Raises:
        ConfigError: it is empty, too long, or holds what is no text.
    """
    if not key or len(key) > KEY_LENGTH or not key.isprintable():
        hint = f"1 to {KEY_LENGTH} printable characters"
        raise ConfigError(f"{key[:60]!r} ({len(key)} characters) cannot be the key of a job", hint)


def _begin(
    settings: Settings,
    table: Attempts,
    key: str,
    spec: JobSpec,
    generation: int,
    task: dict[str, Any],
    newest: Attempt | None,
) -> Attempt | None:
    """Insert the next attempt and start its supervisor; None where another submitter is at it."""
    number = newest.number + 1 if newest else 1
    folder = files.make_attempt(settings.home, key, number)
    lock = files.try_lock(folder)
    if lock is None:
        return None
    try:
        latest = table.newest(key)
        if latest and latest.number >= number:  # inserted, and ended, since the caller looked
            return None
        files.clear_attempt(folder)
        row = {"key": key, "number": number, "generation": max(generation, newest.generation if newest else 0)}
        row |= {"folder": str(folder), "name": spec.name, "host": host(), "wanted": spec.resources.devices}
        row |= {"state": QUEUED if spec.resources.devices else LAUNCHING, "token": 1, "task": task}
        attempt = table.add(row)
        if attempt is None:
            return None
        _launch(settings, attempt, spec, lock, first_of(table.of(key), attempt))
        return table.get(attempt.id)
    finally:
        os.close(lock)


def first_of(history: list[Attempt], attempt: Attempt) -> int:
    """Number of the attempt since which the key's state is kept: none was cancelled, and nobody cleared the task."""
    first = attempt.number
    for earlier in reversed([before for before in history if before.number < attempt.number]):
        if earlier.state == CANCELLED or earlier.generation != attempt.generation:
            break
        first = earlier.number
    return first


def _launch(settings: Settings, attempt: Attempt, spec: JobSpec, lock: int, first: int) -> None:
    """Start the supervisor, which inherits the attempt's lock."""
    record = Launch(
        id=attempt.id,
        token=attempt.token,
        key=attempt.key,
        number=attempt.number,
        host=host(),
        home=str(settings.home),
        project=str(settings.project),
        state=str(files.state_folder(attempt.path, first)),
        spec=spec,
        pretended=settings.devices,
        confined=settings.confine_jobs,
    )
    write_launch(attempt.path, record)
    # Ours are those of these settings alone: the submitter's may be of another project.
    others = {name: value for name, value in allowed(os.environ, spec.environment).items() if name not in OWN}
    variables = others | settings.as_environment()
    command = [sys.executable, "-P", "-m", "airloom.jobs.supervise", str(attempt.path), str(lock)]
    with (attempt.path / "supervisor.txt").open("ab") as output:
        subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            cwd=settings.home,
            env=variables,
            start_new_session=True,
            pass_fds=(lock,),
        )


def settle(table: Attempts, attempt: Attempt | None) -> Attempt | None:
    """The attempt as it really is: one whose processes are all gone is LOST, whatever the table says.

    On this machine its lock tells, elsewhere its heartbeat. What a killed supervisor left running is ended first, so
    that no two attempts of a key ever work at once.
    """
    if attempt is None or not attempt.alive:
        return attempt
    if attempt.host != host():
        if time.time() - attempt.heartbeat < AWAY:
            return attempt
        table.change(attempt.id, claim=attempt.token, state=LOST, ended=time.time(), reason=f"{attempt.host} is silent")
        return table.get(attempt.id)
    if files.is_locked(attempt.path) and not _abandoned(attempt):
        return attempt
    if not processes.end_attempt(attempt.path):
        return attempt
    now = table.get(attempt.id)
    if now.alive:
        _record(table, now)
    return table.get(attempt.id)


def _abandoned(attempt: Attempt) -> bool:
    """Whether the supervisor is gone while something of the job still lives.

    Before the supervisor has said who it is, its submitter may hold the lock alone: then no process is marked yet.
    """
    if attempt.owner:
        return not processes.supervises(attempt.owner, attempt.path)
    # In this order: a job that is seen was started by a supervisor, which is then seen too, if it lives.
    return bool(processes.marked(attempt.path)) and not processes.supervisor_of(attempt.path)


def _record(table: Attempts, attempt: Attempt) -> None:
    """Record the end of an attempt that nobody saw: SUCCEEDED where its result says so, else CANCELLED or LOST."""
    result = read_result(attempt.path)
    told = result.failure.error if result and not result.ok else ""
    state, reason = LOST, attempt.stop or told or "its processes are gone; nobody saw it end"
    if result and result.ok:
        state, reason = SUCCEEDED, ""
    elif attempt.cancel:
        state, reason = CANCELLED, attempt.cancel
    table.change(attempt.id, claim=attempt.token, state=state, ended=time.time(), reason=reason)


def stop(table: Attempts, attempt: Attempt, reason: str) -> Attempt:
    """Have a living attempt save a checkpoint and end, to go on later; one that does not in time is cancelled.

    Raises:
        JobError: it did not end in time.
    """
    table.change(attempt.id, stop=reason)
    until = time.monotonic() + STOP_GRACE + ENDING
    while (now := settle(table, table.get(attempt.id))) and now.alive:
        if time.monotonic() > until:
            return end(table, now, reason)
        time.sleep(0.1)
    return now or attempt


def end(table: Attempts, attempt: Attempt, reason: str) -> Attempt:
    """Cancel a living attempt and wait until nothing of it is left; a supervisor that does not answer is killed too.

    Raises:
        JobError: it did not end in time.
    """
    table.change(attempt.id, cancel=reason)
    until = time.monotonic() + ENDING
    while (now := settle(table, table.get(attempt.id))) and now.alive:
        if time.monotonic() > until + 2 * ENDING:
            raise JobError(f"attempt {now.number} of {now.key} does not end", f"look at {now.folder}")
        if time.monotonic() > until and now.host == host():
            processes.end_attempt(now.path)
        time.sleep(0.1)
    return table.get(attempt.id)
