"""Wait for a child process, one's own or one that outlived its waiter."""

import contextlib
import os
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from airloom.errors import JobFailed
from airloom.jobs import files

GRACE = 5.0  # seconds between TERM and KILL
POLL = 0.1
TAIL = 15


class Job:
    """A living child and its folder. `process` is None for an adopted one, which is alive while the lock is held."""

    def __init__(self, folder: Path, process: "subprocess.Popen[bytes] | None" = None) -> None:
        self._folder = folder
        self._process = process
        self._follower = files.Follower(folder / files.LOG)
        self._started = time.time()

    @property
    def adoptable(self) -> bool:
        """Whether the folder's child is the one alive, not a leftover of an attempt that ended."""
        return (self._folder / files.PROCESS).exists() and self._alive()

    def wait(self, timeout: float, on_line: Callable[[str], None] | None) -> dict[str, Any]:
        """The step's value.

        Raises:
            JobFailed: it failed, died, or ran over its time.
        """
        value = self.outcome(timeout, on_line)
        if value is None:
            raise self._error(f"{self._step()} ended without a result: {self._exit()}", self._tail())
        return value

    def outcome(self, timeout: float, on_line: Callable[[str], None] | None) -> dict[str, Any] | None:
        """As `wait`, but None where the child died without a result."""
        try:
            while self._alive():
                self._forward(on_line)
                if time.time() - self._begun() > timeout:
                    self._kill()
                    raise self._error(f"{self._step()} exceeded its wall time of {timeout:g} s", "raise resources.time")
                time.sleep(POLL)
        except JobFailed:
            raise
        except BaseException:  # a cancelled task must not leave its work running
            self._kill()
            raise
        self._forward(on_line, last=True)
        result = files.read(self._folder / files.RESULT)
        if result is None:
            return None
        if not result["ok"]:
            raise self._error(result["error"], result["hint"])
        return dict(result["value"])

    def _alive(self) -> bool:
        if self._process is not None:
            return self._process.poll() is None
        lock = files.try_lock(self._folder.parent)
        if lock is not None:  # a zombie has no lock, so the pid alone would not do
            os.close(lock)
            return False
        try:
            os.kill(self._pid(), 0)
        except ProcessLookupError:
            return False
        return True

    def _pid(self) -> int:
        if self._process is not None:
            return self._process.pid
        return int((files.read(self._folder / files.PROCESS) or {"pid": 2**30})["pid"])

    def _exit(self) -> str:
        code = self._process.returncode if self._process else None
        if code is None:
            return "its exit code is unknown"
        if code >= 0:
            return f"exit code {code}"
        hint = " (often: out of memory)" if -code == signal.SIGKILL else ""
        return f"killed by {signal.Signals(-code).name}{hint}"

    def _begun(self) -> float:
        """Wall clock, as it crosses processes: an adopted child's time counts from its own start."""
        if self._process is not None:
            return self._started
        return float((files.read(self._folder / files.PROCESS) or {}).get("started", self._started))

    def _kill(self) -> None:
        """End the whole group: TERM, and KILL for what is left after the grace period."""
        pid = self._pid()
        with contextlib.suppress(ProcessLookupError):
            os.killpg(pid, signal.SIGTERM)
            end = time.monotonic() + GRACE
            while self._alive() and time.monotonic() < end:
                time.sleep(0.05)
            os.killpg(pid, signal.SIGKILL)  # also grandchildren that ignored TERM
        if self._process is not None:
            self._process.wait()

    def _forward(self, on_line: Callable[[str], None] | None, last: bool = False) -> None:
        for line in self._follower.lines(last) if on_line else ():
            on_line(line)  # type: ignore[misc]

    def _tail(self) -> str:
        lines = files.Follower(self._folder / files.LOG).lines(last=True)[-TAIL:]
        return "the log ends with:\n" + "\n".join(lines) if lines else "the log is empty"

    def _error(self, message: str, hint: str) -> JobFailed:
        log = str(self._folder / files.LOG)
        return JobFailed(message, f"{hint}\n  log: {log}", log)

    def _step(self) -> str:
        return str((files.read(self._folder / files.SPEC) or {}).get("step", "the job"))
