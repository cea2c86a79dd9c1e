"""How a job ends: asked to, killed with all that it left, and what its exit means."""

import contextlib
import os
import signal
import subprocess
import time
from pathlib import Path

from airloom.jobs import processes
from airloom.jobs.results import rank_failures, read_result
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
    while not processes.childless() and time.monotonic() < until:
        processes.kill(processes.descendants())
        if job:
            reap(job)
        time.sleep(0.01)


def reap(job: "subprocess.Popen[bytes]") -> None:
    """Bury the orphans that ended: they would stay as zombies as long as this process lives."""
    with contextlib.suppress(ChildProcessError):
        while ended := os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT):
            if ended.si_pid == job.pid:
                job.poll()  # its exit code is wanted
            else:
                os.waitpid(ended.si_pid, 0)


def outcome(folder: Path, code: int, *, is_command: bool) -> tuple[str, str]:
    """State and reason of an attempt, by what its job wrote down and by its exit code.

    Args:
        folder: of the attempt.
        code: of the job's first process, negative for a signal.
        is_command: a command needs no result file.
    """
    result = read_result(folder)
    if result is not None:
        if result.ok:
            return SUCCEEDED, ""
        return (LOST if result.stopped else FAILED), result.failure.error
    if is_command and code == 0:
        return SUCCEEDED, ""
    if failures := rank_failures(folder):  # rank 0 had no time left for a result
        return FAILED, f"rank {failures[0].rank} failed: {failures[0].error}"
    if code < 0:
        hint = " (often: out of memory)" if -code == signal.SIGKILL else ""
        return FAILED, f"it was killed by {signal.Signals(-code).name}{hint}"
    return FAILED, f"it ended with exit code {code}{'' if is_command else ' and no result'}"
