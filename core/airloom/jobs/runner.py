"""Run a step as a supervised child process, so that its memory, crash and threads are not the task's own."""

import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from airloom.errors import JobFailed
from airloom.jobs import files
from airloom.jobs.environment import child_environment
from airloom.jobs.watch import Job
from airloom.settings import Settings

OnLine = Callable[[str], None]


def run_job(
    settings: Settings,
    key: str,
    step: str,
    arguments: dict[str, Any],
    *,
    attempt: int,
    threads: int,
    timeout: float,
    on_line: OnLine | None = None,
) -> dict[str, Any]:
    """Run `step` in a child process and wait for its result.

    No two children of one key are ever alive: where an earlier attempt's child still works, because its waiter
    died, this call waits for that one. The same attempt called again after it went well returns its result.

    Args:
        key: unique for the task, for example `<run key>/tune/0`; the same for all its attempts.
        step: `module:function`, taking and returning JSON.
        timeout: wall time in seconds, counted from the child's start.
        on_line: gets each line of the child's log.

    Raises:
        JobFailed: the step failed, the child died, or its time was over; `log` is the log's path.
    """
    root = files.key_folder(settings.make_home(), key)
    own = root / str(attempt)
    own.mkdir(parents=True, exist_ok=True, mode=0o700)
    while True:
        done = files.read(own / files.RESULT)
        if done and done["ok"]:
            return dict(done["value"])
        lock = files.try_lock(root)
        if lock is not None:
            return _start(settings, own, lock, step, arguments, threads).wait(timeout, on_line)
        current = files.read(root / "current")
        adopted = Job(root / current["attempt"]) if current else None
        if adopted and adopted.adoptable:
            value = adopted.outcome(timeout, on_line)
            if value is not None:
                return value
        time.sleep(0.05)  # the other caller has the lock, its child is not up yet


def _start(settings: Settings, folder: Path, lock: int, step: str, arguments: dict[str, Any], threads: int) -> Job:
    """Start the child, which inherits the lock: between parent and child there is no instant without it."""
    try:
        for name in (files.RESULT, files.PROCESS):
            (folder / name).unlink(missing_ok=True)
        files.write(folder / files.SPEC, {"step": step, "arguments": arguments})
        files.write(folder.parent / "current", {"attempt": folder.name})
        command = [sys.executable, "-P", "-m", "airloom.jobs.child", str(folder), str(lock)]
        with (folder / files.LOG).open("ab") as log:
            process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                cwd=settings.project,
                env=child_environment(settings, threads, os.environ),
                start_new_session=True,
                pass_fds=(lock,),
            )
    except OSError as error:
        raise JobFailed(f"the job of {step} cannot start: {error}", log=str(folder / files.LOG)) from error
    finally:
        os.close(lock)
    return Job(folder, process)
