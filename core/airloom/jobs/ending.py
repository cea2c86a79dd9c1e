"""How a job ends: asked to, killed with all that it left, and what its exit says."""

import contextlib
import os
import signal
import subprocess
import time
from pathlib import Path
from typing import Any

from airloom.jobs import files, processes
from airloom.jobs.states import FAILED, LOST, SUCCEEDED

KILLING = 10.0  # seconds to find and kill what goes on making processes


def ask_to_end(job: "subprocess.Popen[bytes]", *, everybody: bool) -> None:
    """SIGTERM: to every process of a command, as a shell passes nothing on; else to the first process only.

    It saves a checkpoint first, and needs its helpers for that: the workers of a DataLoader end at a SIGTERM, which
    their owner takes for a failure. torchrun passes the signal on to its ranks.
    """
    processes.end([job.pid, *(processes.descendants() if everybody else [])], signal.SIGTERM)


def end_descendants(job: "subprocess.Popen[bytes] | None") -> None:
    """Kill whatever the job left: this process adopted its orphans, so all of them hang below it."""
    until = time.monotonic() + KILLING
    while (left := processes.descendants()) and time.monotonic() < until:
        processes.end(left, signal.SIGKILL)
        if job:
            reap(job)
        time.sleep(0.01)


def reap(job: "subprocess.Popen[bytes]") -> None:
    """Bury the orphans that ended: they would stay as zombies as long as this process lives."""
    with contextlib.suppress(ChildProcessError):
        while found := os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT):
            if found.si_pid == job.pid:
                job.poll()  # its exit code is wanted
            else:
                os.waitpid(found.si_pid, 0)


def outcome(folder: Path, code: int, *, is_command: bool) -> tuple[str, str]:
    """State and reason by the exit code and the result file."""
    result = files.read_result(folder)
    if result is not None:
        if result["ok"]:
            return SUCCEEDED, ""
        return (LOST if result.get("stopped") else FAILED), result["error"]
    if is_command and code == 0:
        return SUCCEEDED, ""
    if failed := _first_rank_to_fail(folder):
        return FAILED, f"rank {failed['rank']} failed: {failed['error']}"
    if code < 0:
        hint = " (often: out of memory)" if -code == signal.SIGKILL else ""
        return FAILED, f"it was killed by {signal.Signals(-code).name}{hint}"
    return FAILED, f"it ended with exit code {code}{'' if is_command else ' and no result'}"


def _first_rank_to_fail(folder: Path) -> dict[str, Any] | None:
    """What the ranks wrote down, where rank 0 had no time left to say it."""
    errors = [files.read(path) or {} for path in folder.glob("error-rank*.json")]
    return min((e for e in errors if e and not e["stopped"]), key=lambda e: float(e["time"]), default=None)
