"""Wait for an attempt, and read what it returned."""

import time
from collections.abc import Callable
from functools import partial
from typing import Any

from airloom import database
from airloom.errors import CorruptFile, JobFailed, JobLost
from airloom.jobs import files
from airloom.jobs.results import JobResult, read_result
from airloom.jobs.spec import JobSpec
from airloom.jobs.states import CANCELLED, FAILED, LOST, SUCCEEDED, Attempt
from airloom.jobs.submit import end, settle, stop, submit
from airloom.jobs.table import Attempts
from airloom.settings import Settings

INTERRUPTED = "its submitter was interrupted"
POLL, LONGEST = 0.1, 0.5  # seconds between two looks at the table, at first and after a while
SHARE = 0.05  # of the time waited so far: no end is noticed later than that
LOOK = 1.0  # seconds between two looks whether its processes still are there
TAIL = 15
OnLine = Callable[[str], None]


def wait(
    settings: Settings,
    attempt: Attempt,
    on_line: OnLine | None = None,
    *,
    seconds: float | None = None,
    follower: files.Follower | None = None,
) -> Attempt:
    """The attempt as soon as it ended, or after `seconds`.

    Args:
        settings: of this installation.
        attempt: to wait for.
        on_line: gets each line of its log.
        seconds: to wait at most; None: until it ended.
        follower: of its log, where the caller wants to know how far it was read.

    Raises:
        JobsAway: the table of jobs is away for longer than `database.PATIENCE`; the job goes on.
    """
    table, follower = Attempts(settings.database_address), follower or files.Follower(attempt.path / files.LOG)
    until = time.monotonic() + seconds if seconds is not None else None
    began = looked = time.monotonic()
    while True:
        closely = time.monotonic() - looked > LOOK
        now = database.patiently(partial(_look, table, attempt.id, closely))
        looked = time.monotonic() if closely else looked
        for line in follower.lines(last=not now.alive) if on_line else ():
            on_line(line)  # type: ignore[misc] # lines are only read where somebody wants them
        if not now.alive or (until is not None and time.monotonic() > until):
            return now
        time.sleep(min(LONGEST, max(POLL, SHARE * (time.monotonic() - began))))


def _look(table: Attempts, identity: int, closely: bool) -> Attempt:
    attempt = table.get(identity)
    return (settle(table, attempt) or attempt) if closely and attempt.alive else attempt


def wait_or_cancel(settings: Settings, attempt: Attempt, on_line: OnLine | None = None) -> Attempt:
    """As `wait`, but who interrupts the waiting ends the job too, at a checkpoint: a person at a terminal means both.

    Who interrupts once more does not wait for the checkpoint either.
    """
    try:
        return wait(settings, attempt, on_line)
    except BaseException:
        table = Attempts(settings.database_address)
        try:
            stop(table, attempt, INTERRUPTED)
        except BaseException:
            end(table, attempt, INTERRUPTED)
            raise
        raise


def value(attempt: Attempt) -> dict[str, Any]:
    """What the step of a succeeded attempt returned; empty for a command without a result.

    Raises:
        JobLost: it was stopped, or nobody saw it end.
        JobFailed: it failed or was cancelled; the message says why, the hint has the end of its log.
        CorruptFile: its result was lost since.
    """
    result = read_result(attempt.path)
    if attempt.state == SUCCEEDED:
        return _kept(attempt, result)
    log = str(attempt.path / files.LOG)
    failure = result.failure if result and not result.ok else None
    hint = failure.hint if failure and failure.hint else _tail(attempt)
    if attempt.state == CANCELLED:  # what it said itself was meant for one that is stopped to go on
        hint = "submitted again, it begins at step 0"
    kind = JobLost if attempt.state == LOST else JobFailed
    verb = {CANCELLED: "was cancelled", LOST: "was lost"}.get(attempt.state, "failed")
    explained = failure is not None and attempt.reason == failure.error[:4000]
    message = attempt.reason if explained else f"{attempt.name} {verb}: {attempt.reason}"
    raise kind(message, f"{hint}\n  log: {log}", log, failure.type if failure else "")


def _kept(attempt: Attempt, result: JobResult | None) -> dict[str, Any]:
    if result is None and _is_command(attempt):
        return {}
    if result is None or not result.ok:
        damage = result.failure.error.removeprefix(f"its {files.RESULT} ") if result else "is gone"
        hint = f"remove {attempt.path}, and run it again: the job is done anew"
        raise CorruptFile(f"{attempt.path / files.RESULT} {damage}; job {attempt.key} had succeeded", hint)
    return result.value


def _is_command(attempt: Attempt) -> bool:
    """Whether it may do without a result."""
    launch = files.read(attempt.path / files.LAUNCH) or {}
    return bool(launch.get("spec", {}).get("command"))


def was_killed(attempt: Attempt) -> bool:
    """Whether it ended without a result of its own: killed, crashed, or with nobody there to see it."""
    return attempt.state in (FAILED, LOST) and read_result(attempt.path) is None


def _tail(attempt: Attempt) -> str:
    lines = files.Follower(attempt.path / files.LOG).lines(last=True)[-TAIL:]
    return "the log ends with:\n" + "\n".join(lines) if lines else "the log is empty"


def run_job(
    settings: Settings,
    key: str,
    spec: JobSpec,
    *,
    on_line: OnLine | None = None,
    generation: int = 0,
    losses: int = 0,
) -> dict[str, Any]:
    """Run a job to its end and return its value; called again after it went well, it returns the same value.

    Args:
        settings: of this installation.
        key: of the job.
        spec: what it does.
        on_line: gets each line of its log.
        generation: a higher one than before starts it anew.
        losses: attempts that may be killed before it counts as failed.

    Raises:
        JobFailed: the step failed, the process died, or a limit was broken; `log` is the log's path.
    """
    while True:
        attempt = wait_or_cancel(settings, submit(settings, key, spec, generation=generation), on_line)
        losses -= 1
        if losses < 0 or attempt.stop or not was_killed(attempt):
            return value(attempt)
        if on_line:
            on_line(f"attempt {attempt.number} of {key}: {attempt.reason}; the next one goes on")
