"""Processes of a job: found by their mark or by the lock that they hold, ended all together."""

import contextlib
import ctypes
import os
import signal
import time
from collections.abc import Iterable
from pathlib import Path

# In the environment of every process of an attempt. The context's own variable: ids repeat in another home, and ending
# an attempt's processes must never touch a job of another installation.
MARK = "AIRLOOM_JOB_FOLDER"
GONE = ("", "Z", "X")  # states of a process that does nothing more
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


def descendants() -> dict[int, int]:
    """Pid and process group of all processes below this one, zombies left out."""
    children: dict[int, dict[int, int]] = {}
    for pid in _pids():
        state, parent, group = _state(pid)
        if state not in GONE:
            children.setdefault(parent, {})[pid] = group
    groups, queue = dict[int, int](), [os.getpid()]
    while queue:
        below = children.get(queue.pop(), {})
        groups |= below
        queue += below
    return groups


def childless() -> bool:
    """Whether nothing is below this process: of one that adopts orphans the kernel knows, however quickly they fork."""
    try:
        os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
    except ChildProcessError:
        return True
    return False


def marked(folder: Path) -> dict[int, int]:
    """Pid and group of all processes of an attempt, wherever they hang: also those whose supervisor was killed."""
    wanted = f"{MARK}={folder}".encode()
    groups: dict[int, int] = {}
    for pid in _pids():
        if pid == os.getpid():
            continue
        with contextlib.suppress(OSError), Path(f"/proc/{pid}/environ").open("rb") as file:
            if wanted in file.read().split(b"\0"):
                state, _, group = _state(pid)
                groups |= {} if state in GONE else {pid: group}
    return groups


def group(leader: int) -> list[int]:
    """Pids of the other living processes of a session, by its leader."""
    members = []
    for pid in _pids():
        with contextlib.suppress(OSError):
            if pid != leader and os.getsid(pid) == leader and _state(pid)[0] not in GONE:
                members.append(pid)
    return members


def holders(lock: Path) -> dict[int, int]:
    """Pid and group of all processes that hold an attempt's lock: also those that cleared their environment."""
    with contextlib.suppress(OSError):
        wanted = lock.stat()
        pids = [pid for pid in _pids() if pid != os.getpid() and _holds(pid, (wanted.st_dev, wanted.st_ino))]
        return {pid: _state(pid)[2] for pid in pids}
    return {}


def _holds(pid: int, wanted: tuple[int, int]) -> bool:
    with contextlib.suppress(OSError):
        for path in Path(f"/proc/{pid}/fd").iterdir():
            with contextlib.suppress(OSError):
                status, info = path.stat(), Path(f"/proc/{pid}/fdinfo/{path.name}")
                # Whoever only tries the lock has the file open too, but the lock is not in its open file.
                if (status.st_dev, status.st_ino) == wanted and "FLOCK" in info.read_text():
                    return True
    return False


def supervises(pid: int, folder: Path) -> bool:
    """Whether this pid is the living supervisor of an attempt: pids are given out again."""
    with contextlib.suppress(OSError):
        words = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
        return b"airloom.jobs.supervise" in words and os.fsencode(folder) in words
    return False


def supervisor_of(folder: Path) -> int:
    """Pid of the living supervisor of an attempt, 0 where there is none."""
    return next((pid for pid in _pids() if supervises(pid, folder)), 0)


def end(pids: Iterable[int], how: signal.Signals) -> None:
    """Send a signal to each that still is there."""
    for pid in pids:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.kill(pid, how)


def kill(groups: dict[int, int]) -> None:
    """Kill processes with their groups, this one's own excepted: nothing forks out of a group that is killed.

    Args:
        groups: process group by pid.
    """
    for group in set(groups.values()) - {0, os.getpgrp()}:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(group, signal.SIGKILL)
    end(groups, signal.SIGKILL)


def _left(folder: Path) -> dict[int, int]:
    supervisor = supervisor_of(folder)
    return ({supervisor: 0} if supervisor else {}) | marked(folder) | holders(folder / "lock")


def end_attempt(folder: Path, seconds: float = 10) -> bool:
    """Kill every process of an attempt, its supervisor first; whether none is left."""
    until = time.monotonic() + seconds
    while left := _left(folder):
        kill(left)
        if time.monotonic() > until:
            return False
        time.sleep(0.05)
    return True


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


def _state(pid: int) -> tuple[str, int, int]:
    """State letter, parent and process group of a process; ("", 0, 0) where it is gone."""
    try:
        with Path(f"/proc/{pid}/stat").open("rb") as file:
            fields = file.read().rpartition(b")")[2].split()
    except OSError:
        return "", 0, 0
    return fields[0].decode(), int(fields[1]), int(fields[2])
