"""Processes of a job: found by their mark, ended all together."""

import contextlib
import ctypes
import os
import signal
import time
from collections.abc import Iterable
from pathlib import Path

MARK = "AIRLOOM_JOB_ATTEMPT_ID"  # in the environment of every process of an attempt
_PR_SET_PDEATHSIG, _PR_SET_CHILD_SUBREAPER = 1, 36


def adopt_orphans() -> None:
    """Make this process the parent of whatever its descendants leave behind (Linux's child subreaper)."""
    _prctl(_PR_SET_CHILD_SUBREAPER, 1)


def die_with_parent() -> None:
    """Have this process killed when the thread that started it ends."""
    _prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


def _prctl(option: int, value: int) -> None:
    if ctypes.CDLL(None, use_errno=True).prctl(option, value, 0, 0, 0):
        raise OSError(ctypes.get_errno(), "prctl failed")


def descendants() -> list[int]:
    """Pids of all processes below this one, zombies left out."""
    children: dict[int, list[int]] = {}
    for pid in _pids():
        state, parent = _state(pid)
        if state not in ("", "Z", "X"):
            children.setdefault(parent, []).append(pid)
    found, queue = [], [os.getpid()]
    while queue:
        below = children.get(queue.pop(), [])
        found += below
        queue += below
    return found


def marked(attempt: int) -> list[int]:
    """Pids of all processes of an attempt, wherever they hang: also those whose supervisor was killed."""
    wanted = f"{MARK}={attempt}".encode()
    found = []
    for pid in _pids():
        if pid == os.getpid():
            continue
        with contextlib.suppress(OSError), Path(f"/proc/{pid}/environ").open("rb") as file:
            if wanted in file.read().split(b"\0") and _state(pid)[0] not in ("", "Z", "X"):
                found.append(pid)
    return found


def group(leader: int) -> list[int]:
    """Pids of the other living processes of a session, by its leader."""
    found = []
    for pid in _pids():
        with contextlib.suppress(OSError):
            if pid != leader and os.getsid(pid) == leader and _state(pid)[0] not in ("", "Z", "X"):
                found.append(pid)
    return found


def end(pids: Iterable[int], how: signal.Signals) -> None:
    """Send a signal to each that still is there."""
    for pid in pids:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.kill(pid, how)


def end_marked(attempt: int, seconds: float = 10) -> bool:
    """Kill every process of an attempt; whether none is left."""
    until = time.monotonic() + seconds
    while left := marked(attempt):
        end(left, signal.SIGKILL)
        if time.monotonic() > until:
            return False
        time.sleep(0.05)
    return True


def exists(pid: int, mark: int) -> bool:
    """Whether a pid is still that attempt's process: pids are given out again."""
    try:
        with Path(f"/proc/{pid}/environ").open("rb") as file:
            return f"{MARK}={mark}".encode() in file.read().split(b"\0") and _state(pid)[0] not in ("", "Z", "X")
    except OSError:
        return False


def how(code: int) -> str:
    """An exit code, as subprocess has it, in words."""
    return f"was killed by {signal.Signals(-code).name}" if code < 0 else f"ended with exit code {code}"


def usage(pids: Iterable[int]) -> tuple[int, float]:
    """Memory in bytes (proportional set size, so shared pages count once) and CPU seconds of some processes."""
    memory, cpu = 0, 0.0
    for pid in pids:
        with contextlib.suppress(OSError, ValueError, IndexError):
            memory += _memory(pid)
            with Path(f"/proc/{pid}/stat").open("rb") as file:
                fields = file.read().rpartition(b")")[2].split()
            cpu += (int(fields[11]) + int(fields[12]) + int(fields[13]) + int(fields[14])) / os.sysconf("SC_CLK_TCK")
    return memory, cpu


def _memory(pid: int) -> int:
    with Path(f"/proc/{pid}/smaps_rollup").open("rb") as file:
        for line in file:
            if line.startswith(b"Pss:"):
                return int(line.split()[1]) * 1024
    return 0


def _pids() -> list[int]:
    return [int(folder.name) for folder in Path("/proc").iterdir() if folder.name.isdigit()]


def _state(pid: int) -> tuple[str, int]:
    """State letter and parent of a process; ("", 0) where it is gone."""
    try:
        with Path(f"/proc/{pid}/stat").open("rb") as file:
            fields = file.read().rpartition(b")")[2].split()
    except OSError:
        return "", 0
    return fields[0].decode(), int(fields[1])
